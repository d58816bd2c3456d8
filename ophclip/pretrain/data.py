# SPDX-License-Identifier: Apache-2.0
"""What a run learns from: the training split of a corpus, as far as the cache holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ophclip import console
from ophclip.cache import FeatureCache, open_cache
from ophclip.corpus import Clip, Corpus, Kind, Video, read_corpus
from ophclip.errors import UsageError
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.timeline import Timeline

NAMED_AT_MOST = 5
SLACK_S = 1.0  # by which a clip may begin after the last row of its video: rows are some time apart


@dataclass(frozen=True)
class TrainingData:
    """Clips and narrated videos to learn from, silent videos to retrieve.

    Videos are known by number: the narrated ones first, then the silent ones.
    """

    cache: FeatureCache
    clips: list[Clip]
    narrated: list[Video]
    silent: list[Video]

    @property
    def has_frames(self) -> bool:
        """Whether the cache holds frames `[T, H, W, 3]` (frames mode) or features `[T, F]`."""
        return len(self.cache.row_shape) == 3

    @cached_property
    def video_ids(self) -> list[str]:
        """The id of each video, by number."""
        return [video.video_id for video in (*self.narrated, *self.silent)]

    @cached_property
    def timeline(self) -> Timeline:
        """When each row of each video is on screen."""
        return Timeline.of(self.cache, self.video_ids)

    @cached_property
    def clip_videos(self) -> NDArray[np.int64]:
        """The number of the video of each clip, `[num_clips]`."""
        numbers = {video_id: number for number, video_id in enumerate(self.video_ids)}
        return np.array([numbers[clip.video_id] for clip in self.clips], dtype=np.int64)

    @cached_property
    def clip_spans(self) -> NDArray[np.float64]:
        """First and last second of each clip, `[num_clips, 2]`."""
        return np.array([(clip.start_s, clip.end_s) for clip in self.clips], dtype=np.float64).reshape(-1, 2)

    @cached_property
    def titles(self) -> list[str]:
        """The title of each video, by number: the structured one, and the raw one where there is none."""
        return [title_of(video) for video in (*self.narrated, *self.silent)]

    @cached_property
    def narrations(self) -> list[str]:
        """The text of each clip."""
        return [clip.text for clip in self.clips]


def load_data(config: PretrainConfig, *, split: str = "train") -> TrainingData:
    """Open the corpus and the cache and keep what both hold of a split.

    Videos that the cache lacks, and videos without any title, are left out and counted on stderr.

    Raises:
        UsageError: nothing is left to learn from, or a clip lies outside its video.
    """
    corpus, cache = read_corpus(config.corpus), open_cache(config.cache)
    narrated = _usable(corpus, cache, "narrated", split)
    silent = _usable(corpus, cache, "silent", split)
    known = {video.video_id for video in narrated}
    data = TrainingData(cache, [clip for clip in corpus.clips if clip.video_id in known], narrated, silent)
    if not data.clips:
        raise UsageError(
            f"{config.cache} must hold narrated videos of the split {split!r} of {config.corpus}, got none",
            remedy="build the cache from this corpus",
        )
    _check_clips(data)
    return data


def title_of(video: Video) -> str:
    """Return the structured title of a video, or the raw one where there is none."""
    return video.title_structured.strip() or video.title.strip()


def _usable(corpus: Corpus, cache: FeatureCache, kind: Kind, split: str) -> list[Video]:
    videos = corpus.select(kind=kind, split=split)
    cached = [video for video in videos if video.video_id in cache]
    _say_left_out(videos, cached, f"{kind} videos of the split {split!r} are not in {cache.path}")
    titled = [video for video in cached if title_of(video)]
    _say_left_out(cached, titled, f"{kind} videos of the split {split!r} have no title")
    return titled


def _say_left_out(videos: Sequence[Video], kept: Sequence[Video], what: str) -> None:
    left_out = sorted({video.video_id for video in videos} - {video.video_id for video in kept})
    if left_out:
        named = ", ".join(left_out[:NAMED_AT_MOST]) + (", ..." if len(left_out) > NAMED_AT_MOST else "")
        console.warn(f"{len(left_out)} of {len(videos)} {what} and are left out: {named}")


def _check_clips(data: TrainingData) -> None:
    late = np.flatnonzero(data.clip_spans[:, 0] >= data.timeline.ends(data.clip_videos) + SLACK_S)
    if late.size:
        clip = data.clips[int(late[0])]
        others = f" (and {late.size - 1} clips more)" if late.size > 1 else ""
        raise UsageError(
            f"clip {clip.clip_id!r} starts at {clip.start_s:g} s, "
            f"past the end of video {clip.video_id!r}{others}",
            remedy="mend clips.csv",
        )
