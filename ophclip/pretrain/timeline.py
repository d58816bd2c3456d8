# SPDX-License-Identifier: Apache-2.0
"""Which rows of the cache show given seconds, for many videos at once.

By presentation time and not by row number: rows of a variable-rate video are not evenly spaced.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ophclip.cache import FeatureCache

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Timeline:
    """The presentation times of all rows of some videos, in one array; videos are known by number."""

    def __init__(self, times: Sequence[Floats]) -> None:
        counts = [len(one) for one in times]
        self._first: Ints = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._times: Floats = np.concatenate([*times, np.empty(0)])
        self._bits = max(counts, default=0).bit_length()

    @classmethod
    def of(cls, cache: FeatureCache, video_ids: Sequence[str]) -> Timeline:
        """Read the times of videos, whose numbers are their places in `video_ids`."""
        return cls([cache.times(video_id) for video_id in video_ids])

    def ends(self, videos: Ints) -> Floats:
        """Return the time of the last row of each video, in seconds."""
        last: Floats = self._times[self._first[videos + 1] - 1]
        return last

    def spread(self, videos: Ints, start_s: Floats, end_s: Floats, count: int) -> Ints:
        """Return `count` rows evenly over a window of each video: int64 `[B, count]`.

        The window ends with the video at the latest; its two ends are not among the moments.
        """
        begin, end = np.maximum(start_s, 0.0), np.minimum(end_s, self.ends(videos))
        return self.shown(videos, np.linspace(begin, end, count + 2, axis=1)[:, 1:-1])

    def scattered(self, videos: Ints, drawn: Floats) -> Ints:
        """Return one row of each of T equal stretches of whole videos: int64 `[B, T]`.

        `drawn` `[B, T]` in [0, 1) says where in its stretch each lies.
        """
        count = drawn.shape[1]
        return self.shown(videos, (np.arange(count) + drawn) / count * self.ends(videos)[:, None])

    def shown(self, videos: Ints, seconds: Floats) -> Ints:
        """Return the row that is on screen at `seconds` `[B, T]` of each video: int64 `[B, T]`.

        That is the last row that is not later; before the first row it is the first.
        """
        first = self._first[videos][:, None]
        low = np.broadcast_to(first, seconds.shape).copy()  # rows before `low` are not later than `seconds`
        high = np.broadcast_to(self._first[videos + 1][:, None], seconds.shape).copy()
        for _ in range(self._bits):
            middle = (low + high) // 2
            is_open = low < high
            not_later = is_open & (self._times[np.minimum(middle, len(self._times) - 1)] <= seconds)
            low = np.where(not_later, middle + 1, low)
            high = np.where(is_open & ~not_later, middle, high)
        rows: Ints = np.maximum(low - 1 - first, 0)
        return rows
