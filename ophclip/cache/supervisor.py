# SPDX-License-Identifier: Apache-2.0
"""Hand videos out to worker processes, and end a worker that hangs: only the video it hangs on is lost.

A worker that dies or freezes may have been at work on several videos. Each of those is tried once more, alone
in a worker: the one that ends it again is the culprit, the others come through.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from multiprocessing.connection import wait

from ophclip.cache.inputs import CacheInput
from ophclip.cache.member import MAX_IN_HAND, Member
from ophclip.cache.messages import FINISH, PULSE_S, STOP, Done, Fatal, Setup
from ophclip.cache.report import Outcome
from ophclip.cache.writer import Writer, open_writer
from ophclip.cache.writing import given_up
from ophclip.errors import OphclipError

GRACE_S = 60.0  # for the commit in hand, on a slow disk
MAX_IDLE_DEATHS = 3  # of workers that had begun nothing


class WorkerError(OphclipError):
    """The worker processes cannot do their work, whatever the video."""


def supervised(
    todo: Sequence[CacheInput],
    setup: Setup,
    writer: Writer,
    *,
    devices: Sequence[str],
    workers: int,
    threads: int,
    deadline_s: float | None,
) -> Generator[Outcome, None, None]:
    """Store the videos by `workers` processes and yield what became of each, as they end.

    Worker k works on `devices[k % len(devices)]`, with so many `threads`. `writer` is the caller's: it
    records the videos that a worker could not.

    Raises:
        WorkerError: a worker ends before it begins, or again and again.
        OphclipError: what a worker met that would meet every video: a full disk, an encoder out of memory.
    """
    supervisor = _Supervisor(todo, setup, writer, devices, workers, threads, deadline_s)
    try:
        yield from supervisor.outcomes()
        supervisor.close(FINISH)
    finally:
        supervisor.close(STOP)


class _Supervisor:
    def __init__(
        self,
        todo: Sequence[CacheInput],
        setup: Setup,
        writer: Writer,
        devices: Sequence[str],
        workers: int,
        threads: int,
        deadline_s: float | None,
    ) -> None:
        self._todo = deque(todo)
        self._suspects: deque[CacheInput] = deque()
        self._setup, self._pickled, self._writer = setup, setup.pickled(), writer
        self._places = deque(devices[number % len(devices)] for number in range(workers))
        self._threads, self._deadline_s = threads, deadline_s
        self._members: list[Member] = []
        self._num_dead = self._num_idle_deaths = 0

    def outcomes(self) -> Iterator[Outcome]:
        while self._num_left():
            self._hire()
            self._try_suspects()
            self._hand_out()
            yield from self._hear()
            yield from self._watch()

    def close(self, last_word: str) -> None:
        """End the workers; those that do not end in time are killed."""
        try:
            for member in self._members:
                member.tell(last_word)
            deadline = time.monotonic() + GRACE_S
            for member in self._members:
                member.ended(max(0.0, deadline - time.monotonic()))
        finally:
            for member in self._members:
                member.kill()
                member.ended()
        self._members = []
        if self._num_dead:
            open_writer(self._setup.out, self._setup.provenance).close()  # removes what the dead left
            self._num_dead = 0

    def _num_left(self) -> int:
        return len(self._todo) + len(self._suspects) + sum(len(member.in_hand) for member in self._members)

    def _hire(self) -> None:
        while self._places and len(self._members) < self._num_left():
            self._members.append(Member(self._pickled, self._places.popleft(), self._threads))

    def _try_suspects(self) -> None:
        for member in self._members:
            if not member.in_hand:
                member.is_on_trial = bool(self._suspects)
                if self._suspects:
                    member.give(self._suspects.popleft())

    def _hand_out(self) -> None:
        """Give the next videos to those who have the fewest, so that the last ones are shared too."""
        free = [member for member in self._members if not member.is_on_trial]
        while self._todo and free:
            member = min(free, key=lambda each: len(each.in_hand))
            if not member.has_room_for(self._todo[0], is_plenty=len(self._todo) > MAX_IN_HAND * len(free)):
                return
            member.give(self._todo.popleft())

    def _hear(self) -> Iterator[Outcome]:
        """Take in what the workers say, or that they say nothing."""
        before = time.monotonic()
        by_connection = {member.connection: member for member in self._members}
        heard = [by_connection[ready] for ready in wait(list(by_connection), PULSE_S)]  # type: ignore[index]
        # No more than this is a wait: a machine that slept, or a group that was stopped, is none.
        waited_s = min(time.monotonic() - before, 2 * PULSE_S)
        for member in self._members:
            member.wait(waited_s)
        for member in heard:
            yield from self._hear_one(member)

    def _hear_one(self, member: Member) -> Iterator[Outcome]:
        while member.connection.poll():
            try:
                message = member.connection.recv()
            except (EOFError, OSError):
                yield from self._bury(member)
                return
            member.note(message)
            if isinstance(message, Done):
                member.settle(message.outcome.video_id)
                yield message.outcome
            elif isinstance(message, Fatal):
                raise message.error

    def _watch(self) -> Iterator[Outcome]:
        for member in list(self._members):
            late = member.overdue(self._deadline_s)
            if member.is_silent or (late and member.is_stuck and not member.is_on_trial):
                self._dismiss(member, begun_are_suspect=True)
            elif late:
                items = [member.in_hand[video_id] for video_id in late]
                for video_id in late:
                    member.settle(video_id)
                self._dismiss(member, begun_are_suspect=False)
                for item in items:
                    yield given_up(item, f"deadline of {late[item.video_id]:.4g} s passed", self._writer)

    def _bury(self, member: Member) -> Iterator[Outcome]:
        how = member.ended()
        if not member.is_ready:
            self._members.remove(member)
            raise WorkerError(
                f"a worker process ended at start-up ({how})",
                remedy="see above for its last words; with fewer --workers it takes less memory",
            )
        if not member.begun:
            self._num_idle_deaths += 1
            if self._num_idle_deaths > MAX_IDLE_DEATHS:
                raise WorkerError(f"worker processes die while they wait ({how})", remedy="pass --workers 0")
        if member.is_on_trial:
            for item in list(member.in_hand.values()):
                member.settle(item.video_id)
                yield given_up(item, f"decoder crashed ({how})", self._writer)
        self._dismiss(member, begun_are_suspect=True)

    def _dismiss(self, member: Member, *, begun_are_suspect: bool) -> None:
        """End a worker and take back what it had in hand; its place becomes free."""
        member.kill()
        member.ended()
        self._num_dead += 1
        self._members.remove(member)
        self._places.append(member.device)
        for item in reversed(member.in_hand.values()):
            is_suspect = begun_are_suspect and item.video_id in member.begun
            (self._suspects if is_suspect else self._todo).appendleft(item)
