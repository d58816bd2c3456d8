# SPDX-License-Identifier: Apache-2.0
"""From a sentence to moments in silent video."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ophclip.cache import CacheInput, FeatureCache, build_cache, open_cache
from ophclip.corpus import Video, read_corpus
from ophclip.errors import UsageError
from ophclip.models import load_encoder, load_model
from ophclip.ops import topk
from ophclip.video import Decoder

MOMENTS_FPS = 1.0
MIN_GAP_S = 5.0  # two moments of one video are at least this far apart


@dataclass(frozen=True)
class Moment:
    """A second of a silent video and how well it matches: the cosine of its embedding and the text's."""

    video_id: str
    path: str
    time_s: float
    score: float
    title: str

    def as_dict(self) -> dict[str, Any]:
        """Return the moment as plain JSON types."""
        return asdict(self)


def search(
    run: Path, text: str, k: int = 10, *, decoder: Decoder = "auto", device: str = "cpu"
) -> list[Moment]:
    """Find the `k` moments of the run's silent training videos that match `text` best.

    The videos are embedded once, at one frame a second, into `run/moments.zarr`. Moments of one video lie
    at least five seconds apart, so fewer than `k` may be found.

    Raises:
        UsageError: the text is empty, k < 1, or the run has no silent videos.
    """
    if not text.strip():
        raise UsageError("the text must not be empty", remedy="write what to look for")
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}", remedy="ask for 10, say")
    model = load_model(run, device)
    videos = _silent_videos(run)
    cache = _embed(run, videos, decoder, device)
    with torch.inference_mode():
        query = F.normalize(model.embed_text([text]).float(), dim=1).cpu()
    titles = {video.video_id: video for video in videos}
    rows, owners, times = _all_rows(cache, [video.video_id for video in videos if video.video_id in cache])
    scores, ids = topk(query, torch.from_numpy(rows), len(rows))
    return [
        Moment(owner, str(titles[owner].path), time_s, round(score, 4), titles[owner].title)
        for owner, time_s, score in _spaced(scores[0].tolist(), ids[0].tolist(), owners, times, k)
    ]


def _silent_videos(run: Path) -> list[Video]:
    corpus = read_corpus(_corpus_of(run))
    videos = corpus.select(kind="silent", split="train")
    if not videos:
        raise UsageError(f"{corpus.root} has no silent training videos", remedy="search needs some")
    return videos


def _corpus_of(run: Path) -> Path:
    import tomllib

    path = run / "config.toml"
    try:
        return Path(tomllib.loads(path.read_text(encoding="utf-8"))["corpus"])
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{path} does not name a corpus: {error}", remedy="pass a pretrain output"
        ) from error


def _embed(run: Path, videos: list[Video], decoder: Decoder, device: str) -> FeatureCache:
    inputs = [CacheInput(video.video_id, video.path) for video in videos]
    store = run / "moments.zarr"
    build_cache(inputs, store, encoder=load_encoder(str(run), device), fps=MOMENTS_FPS, decoder=decoder)
    cache = open_cache(store)
    if not len(cache):
        raise UsageError("none of the run's silent videos can be read", remedy="check the corpus folder")
    return cache


def _all_rows(cache: FeatureCache, ids: list[str]) -> tuple[NDArray[np.float32], list[str], list[float]]:
    rows = np.concatenate([np.asarray(cache[video_id], dtype=np.float32) for video_id in ids])
    owners = [video_id for video_id in ids for _ in cache.times(video_id)]
    times = [float(time_s) for video_id in ids for time_s in cache.times(video_id)]
    return rows, owners, times


def _spaced(
    scores: list[float], ids: list[int], owners: list[str], times: list[float], k: int
) -> list[tuple[str, float, float]]:
    """Take the best moments first, leaving out what lies close to a better one of the same video."""
    kept: list[tuple[str, float, float]] = []
    for score, row in zip(scores, ids, strict=True):
        owner, time_s = owners[row], times[row]
        if all(owner != other or abs(time_s - at) >= MIN_GAP_S for other, at, _ in kept):
            kept.append((owner, time_s, score))
        if len(kept) == k:
            break
    return kept
