# SPDX-License-Identifier: Apache-2.0
"""One worker process as its supervisor sees it: what it has in hand, and how long it has been at it."""

from __future__ import annotations

import multiprocessing
from contextlib import suppress

from ophclip.cache.clock import default_deadline_s
from ophclip.cache.inputs import CacheInput
from ophclip.cache.messages import PULSE_S, Message, Planned, Pulse, Ready, Turned
from ophclip.cache.processes import how_it_ended, signals_held
from ophclip.cache.source_file import SourceFile
from ophclip.cache.worker import work

MIN_IN_HAND = 2  # one is decoded while the next is probed
MAX_IN_HAND = 8  # of small files, of which each takes an instant
SMALL_BYTES = 16 << 20
STUCK_S = 4 * PULSE_S
SILENT_S = 60.0  # without a sign of life, though it is not at work on anything
START_S = 900.0  # until it is ready: it may load a large model from a slow disk

_spawn = multiprocessing.get_context("spawn")  # a fork would copy the threads of torch halfway


class Member:
    """A running worker process.

    `in_hand` holds the videos it was given and has not settled, `begun` those of them it has turned to.
    """

    def __init__(self, setup: bytes, device: str, threads: int) -> None:
        self.device = device
        self.connection, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=work, args=(theirs, setup, device, threads), daemon=True)
        with signals_held():
            self._process.start()
        theirs.close()  # so that the end of the process closes the pipe
        self.in_hand: dict[str, CacheInput] = {}
        self.begun: set[str] = set()
        self.is_ready = self._is_shared = False
        self._side_by_side = 1
        self.is_on_trial = False  # it works on one video alone, during which another worker died
        self._sizes: dict[str, int] = {}
        self._planned_s: dict[str, float] = {}
        self._spent_s: dict[str, float] = {}
        self._at_work: set[str] = set()
        self._silent_s = 0.0

    def has_room_for(self, item: CacheInput, *, is_plenty: bool) -> bool:
        """Return whether it should be given a further video now; `is_plenty`: there are many for everyone."""
        least, most = MIN_IN_HAND + self._side_by_side - 1, MAX_IN_HAND * self._side_by_side
        if len(self.in_hand) < least or not is_plenty:
            return len(self.in_hand) < least
        small_bytes = SMALL_BYTES * self._side_by_side
        return len(self.in_hand) < most and sum(self._sizes.values()) + _size(item) <= small_bytes

    def give(self, item: CacheInput) -> None:
        """Hand it a video; if it has died meanwhile, its connection says so later."""
        self.in_hand[item.video_id] = item
        self._sizes[item.video_id] = _size(item)
        self.tell(item)

    def tell(self, message: CacheInput | str) -> None:
        """Send it a message, if it still listens."""
        with suppress(OSError):
            self.connection.send(message)

    def note(self, message: Message) -> None:
        """Take in what it says of its progress."""
        self._silent_s = 0.0
        if isinstance(message, Ready):
            self.is_ready = True
            self._side_by_side = message.side_by_side
        elif isinstance(message, Turned):
            self.begun.add(message.video_id)
            self._at_work.add(message.video_id)
        elif isinstance(message, Planned):
            self._planned_s[message.video_id] = message.seconds
        elif isinstance(message, Pulse):
            self._spent_s.update(message.spent_s)
            self._at_work, self._is_shared = set(message.spent_s), message.is_shared

    def settle(self, video_id: str) -> None:
        """Take a video off its hands."""
        self.in_hand.pop(video_id, None)
        for kept in (self._sizes, self._planned_s, self._spent_s):
            kept.pop(video_id, None)
        self.begun.discard(video_id)
        self._at_work.discard(video_id)

    def wait(self, seconds: float) -> None:
        """Count time in which nothing was heard of it."""
        self._silent_s += seconds

    def overdue(self, deadline_s: float | None) -> dict[str, float]:
        """Return the videos on which it has worked for too long, each with its deadline in seconds."""
        # A worker that is stuck, or stopped, tells no time: then it is ours that counts.
        stuck_s = self._silent_s if self._silent_s > STUCK_S else 0.0
        allowed_s = {
            video_id: deadline_s if deadline_s is not None else self._allowed_s(video_id)
            for video_id in self._at_work & self.in_hand.keys()
        }
        return {
            video_id: seconds
            for video_id, seconds in allowed_s.items()
            if self._spent_s.get(video_id, 0.0) + stuck_s > seconds
        }

    @property
    def is_stuck(self) -> bool:
        """Whether nobody knows which video is to blame: it is silent, or decodes several in one go."""
        return self._silent_s > STUCK_S or self._is_shared

    @property
    def is_silent(self) -> bool:
        """Whether it gives no sign of life, though it is not at work on anything."""
        return not self._at_work and self._silent_s > (SILENT_S if self.is_ready else START_S)

    def kill(self) -> None:
        """End the process at once, also if it is stopped or sits in a decoder."""
        self._process.kill()

    def ended(self, seconds: float | None = None) -> str | None:
        """Wait for the process to end and return how it did, or None if it has not."""
        self._process.join(seconds)
        code = self._process.exitcode
        return None if code is None else how_it_ended(code)

    def _allowed_s(self, video_id: str) -> float:
        return self._planned_s.get(video_id) or default_deadline_s(self._sizes[video_id])


def _size(item: CacheInput) -> int:
    try:
        return SourceFile.of(item.path).source_size
    except OSError:
        return 0
