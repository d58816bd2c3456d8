# SPDX-License-Identifier: Apache-2.0
"""Batches for both levels, read from the cache by presentation time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ophclip.cache import FeatureCache, open_cache
from ophclip.corpus import Clip, Video, read_corpus
from ophclip.errors import UsageError
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.sampler import step_rng


@dataclass(frozen=True)
class TrainingData:
    """The training split: clips and narrated videos to learn from, silent videos to retrieve."""

    cache: FeatureCache
    clips: list[Clip]
    narrated: list[Video]
    silent: list[Video]

    @property
    def has_frames(self) -> bool:
        """Whether the cache holds frames `[T, H, W, 3]` (frames mode) or features `[T, F]`."""
        return len(self.cache.row_shape) == 3

    def clip_batch(
        self, indices: NDArray[np.int64], config: PretrainConfig, step: int
    ) -> tuple[Tensor, list[str]]:
        """Draw a window from each clip; return rows `[B, clip_frames, ...]` and narrations."""
        rng = step_rng(config.seed, "window", step)
        clips = [self.clips[index] for index in indices]
        windows = [_draw_window(clip, config, rng) for clip in clips]
        rows = [
            self._rows(clip.video_id, start, end, config.clip_frames)
            for clip, (start, end) in zip(clips, windows, strict=True)
        ]
        return torch.from_numpy(np.stack(rows)), [clip.text for clip in clips]

    def video_batch(self, videos: Sequence[Video], config: PretrainConfig) -> tuple[Tensor, list[str]]:
        """Spread `video_frames` over each video; return rows `[B, video_frames, ...]` and titles."""
        rows = [self._rows(video.video_id, 0.0, np.inf, config.video_frames) for video in videos]
        return torch.from_numpy(np.stack(rows)), [video.title_structured or video.title for video in videos]

    def _rows(self, video_id: str, start_s: float, end_s: float, count: int) -> NDArray[np.generic]:
        # By time, not by row number: rows of a variable-rate video are not evenly spaced.
        times = self.cache.times(video_id)
        wanted = np.linspace(max(start_s, 0.0), min(end_s, times[-1]), count + 2)[1:-1]
        if count == 1:
            wanted = np.array([(max(start_s, 0.0) + min(end_s, times[-1])) / 2])
        shown = np.searchsorted(times, wanted, side="right") - 1
        rows: NDArray[np.generic] = self.cache[video_id][np.clip(shown, 0, len(times) - 1)]
        return rows


def load_data(config: PretrainConfig) -> TrainingData:
    """Open the corpus and the cache and keep what both hold.

    Raises:
        UsageError: nothing is left to train on, or a clip lies outside its video.
    """
    corpus, cache = read_corpus(config.corpus), open_cache(config.cache)
    cached = set(cache.ids)
    narrated = [video for video in corpus.select(kind="narrated", split="train") if video.video_id in cached]
    silent = [video for video in corpus.select(kind="silent", split="train") if video.video_id in cached]
    known = {video.video_id for video in narrated}
    clips = [clip for clip in corpus.clips if clip.video_id in known]
    if not clips:
        raise UsageError(
            f"{config.cache} must hold narrated training videos of {config.corpus}, got none",
            remedy="build the cache from this corpus",
        )
    for clip in clips:
        if clip.start_s >= cache.times(clip.video_id)[-1] + 1:
            raise UsageError(
                f"clip {clip.clip_id!r} starts at {clip.start_s:g} s, "
                f"past the end of video {clip.video_id!r}",
                remedy="mend clips.csv",
            )
    return TrainingData(cache, clips, narrated, silent)


def _draw_window(clip: Clip, config: PretrainConfig, rng: np.random.Generator) -> tuple[float, float]:
    length, place = rng.uniform(config.clip_min_s, config.clip_max_s), rng.uniform()
    start, end = clip.start_s, clip.end_s
    missing = max(0.0, config.min_caption_s - (end - start))
    start, end = start - missing / 2, end + missing / 2
    length = min(length, end - start)
    start += place * (end - start - length)
    return start, start + length
