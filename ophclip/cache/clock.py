# SPDX-License-Identifier: Apache-2.0
"""Which stage works on which video, and for how long: the bottleneck, and what a deadline is held against."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ophclip.cache.report import STAGES

BASE_S = 60.0
BYTES_PER_S = 2e6  # a slow network file system
FRAME_S = 0.1  # 4K HEVC on one slow core
ROW_S = 0.25  # a large encoder without a GPU

Place = tuple[str, int]  # a stage and one of its threads


def default_deadline_s(num_bytes: int, num_frames: int = 0, num_rows: int = 0) -> float:
    """Return the seconds of work after which a video of that size counts as hung.

    Several times what a slow machine needs, so that long surgeries end in their own time: a two-hour video
    of 25 frames a second has about five hours, a clip of a minute four minutes.
    """
    return BASE_S + num_bytes / BYTES_PER_S + num_frames * FRAME_S + num_rows * ROW_S


class StageClock:
    """Counts the seconds that each stage works, and the seconds that are worked on each video.

    `on_enter(stage, video_id)` is called as a stage turns to another video. A stage may have several
    threads, each of which works on a video of its own, or on several together.
    """

    def __init__(self, on_enter: Callable[[str, str], None] | None = None) -> None:
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._since: dict[Place, float] = {}
        self._busy: dict[Place, tuple[str, ...]] = {}
        self._last: dict[Place, tuple[str, ...]] = {}
        self._spent: dict[str, float] = {}
        self._on_enter = on_enter
        self._lock = threading.Lock()

    def enter(self, stage: str, *video_ids: str) -> None:
        """Count what follows as work of `stage` on a video, or on each of several."""
        place = (stage, threading.get_ident())
        if self._on_enter:
            for video_id in video_ids:
                if video_id not in self._last.get(place, ()):
                    self._on_enter(stage, video_id)
            self._last[place] = video_ids
        with self._lock:
            self._busy[place] = video_ids
            self._since[place] = time.perf_counter()

    def leave(self, stage: str) -> None:
        """Count no further: the stage waits."""
        place = (stage, threading.get_ident())
        with self._lock:
            self._busy.pop(place, None)
            since = self._since.pop(place, None)
            if since is not None:
                self._seconds[stage] += time.perf_counter() - since

    @contextmanager
    def working(self, stage: str, *video_ids: str) -> Iterator[None]:
        """Count the block as work of `stage` on a video, or on each of several."""
        self.enter(stage, *video_ids)
        try:
            yield
        finally:
            self.leave(stage)

    def take_seconds(self) -> dict[str, float]:
        """Return the work of each stage since this was last asked."""
        with self._lock:
            taken, self._seconds = self._seconds, dict.fromkeys(STAGES, 0.0)
        return taken

    def tick(self, seconds: float) -> dict[str, float]:
        """Add a tick to each video that is worked on now, and return the seconds spent on it so far.

        Ticks, not times of day: those of a process that was stopped for an hour would count the hour.
        """
        with self._lock:
            now_on = {video_id for video_ids in self._busy.values() for video_id in video_ids}
            for video_id in now_on:
                self._spent[video_id] = self._spent.get(video_id, 0.0) + seconds
            return {video_id: self._spent[video_id] for video_id in now_on}

    @property
    def is_shared(self) -> bool:
        """Whether several videos are worked on together, so that it is not known which takes the time."""
        with self._lock:
            return any(len(video_ids) > 1 for video_ids in self._busy.values())

    def forget(self, video_id: str) -> None:
        """Drop what was spent on a video that is done with."""
        with self._lock:
            self._spent.pop(video_id, None)
