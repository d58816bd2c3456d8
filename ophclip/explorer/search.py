# SPDX-License-Identifier: Apache-2.0
"""From a sentence to moments in silent video."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ophclip import console
from ophclip.cache import CacheInput, FeatureCache
from ophclip.corpus import Video, read_corpus
from ophclip.errors import UsageError
from ophclip.evaluate.features import embed_videos
from ophclip.models import load_model
from ophclip.ops import topk
from ophclip.video import Decoder

MOMENTS_FPS = 1.0
MIN_GAP_S = 5.0  # two moments of one video are at least this far apart
CANDIDATES = int(2 * MIN_GAP_S * MOMENTS_FPS)  # rows a moment: enough where frames are evenly spaced


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


@dataclass(frozen=True)
class Pool:
    """Embedded frames of several videos: rows `[N, D]`, the video of each by number, its time in seconds."""

    rows: Tensor
    owners: NDArray[np.int64]
    times_s: NDArray[np.float64]


def search(
    run: Path, text: str, k: int = 10, *, decoder: Decoder = "auto", device: str = "cpu"
) -> list[Moment]:
    """Find the `k` moments of the run's silent training videos that match `text` best.

    The videos are embedded once, at one frame a second, into `run/moments.zarr`. Moments of one video lie
    at least five seconds apart, so fewer than `k` may be found. Videos that cannot be read are left out,
    with a warning.

    Raises:
        UsageError: the text is empty, k < 1, or the run has no silent videos.
    """
    if not text.strip():
        raise UsageError("the text must not be empty", remedy="write what to look for")
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}", remedy="ask for 10, say")
    model = load_model(run, device)
    videos, cache = _embed(run, _silent_videos(run), decoder, device)
    with torch.inference_mode():
        query = F.normalize(model.embed_text([text]).float(), dim=1).cpu()
    pool = _pool(cache, videos)
    moments = []
    for row, score in best_moments(query, pool, k):
        video, time_s = videos[pool.owners[row]], float(pool.times_s[row])
        moments.append(Moment(video.video_id, str(video.path), time_s, round(score, 4), video.title))
    return moments


def best_moments(query: Tensor, pool: Pool, k: int) -> list[tuple[int, float]]:
    """Return at most `k` rows of the pool with their scores, best first, spaced within each video.

    A row is left out if a better one of its video lies less than `MIN_GAP_S` away. `query` is `[1, D]`.
    """
    num_rows = len(pool.rows)
    wanted = min(CANDIDATES * k, num_rows)
    while True:
        scores, rows = topk(query, pool.rows, wanted)
        found = _spaced(rows[0].tolist(), scores[0].tolist(), pool, k)
        if len(found) == k or wanted == num_rows:
            return found
        wanted = min(2 * wanted, num_rows)


def _spaced(rows: list[int], scores: list[float], pool: Pool, k: int) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    taken: dict[int, list[float]] = {}
    for row, score in zip(rows, scores, strict=True):
        others, time_s = taken.setdefault(int(pool.owners[row]), []), float(pool.times_s[row])
        if all(abs(time_s - other) >= MIN_GAP_S for other in others):
            others.append(time_s)
            found.append((row, score))
        if len(found) == k:
            break
    return found


def _silent_videos(run: Path) -> list[Video]:
    corpus = read_corpus(_corpus_of(run))
    videos = corpus.select(kind="silent", split="train")
    if not videos:
        raise UsageError(f"{corpus.root} has no silent training videos", remedy="search needs some")
    return videos


def _corpus_of(run: Path) -> Path:
    path = run / "config.toml"
    try:
        return Path(tomllib.loads(path.read_text(encoding="utf-8"))["corpus"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} does not name a corpus: {error}", remedy="pass a pretrain output"
        ) from error


def _embed(run: Path, videos: list[Video], decoder: Decoder, device: str) -> tuple[list[Video], FeatureCache]:
    inputs = [CacheInput(video.video_id, video.path) for video in videos]
    cache, report = embed_videos(
        run, inputs, run / "moments.zarr", fps=MOMENTS_FPS, decoder=decoder, device=device
    )
    if report.failed:
        video_id, reason = next(iter(report.failed.items()))
        console.warn(f"{len(report.failed)} of {len(videos)} videos are left out; {video_id}: {reason}")
    readable = [video for video in videos if video.video_id in cache and video.video_id not in report.failed]
    if not readable:
        raise UsageError("none of the run's silent videos can be read", remedy="check the corpus folder")
    return readable, cache


def _pool(cache: FeatureCache, videos: list[Video]) -> Pool:
    lengths = [cache.num_frames(video.video_id) for video in videos]
    rows = np.empty((sum(lengths), *cache.row_shape), dtype=np.float32)
    ends = np.cumsum(lengths)
    for video, end, length in zip(videos, ends, lengths, strict=True):
        rows[end - length : end] = cache[video.video_id]
    times = np.concatenate([cache.times(video.video_id) for video in videos])
    return Pool(torch.from_numpy(rows), np.repeat(np.arange(len(videos)), lengths), times)
