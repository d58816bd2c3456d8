# SPDX-License-Identifier: Apache-2.0
"""Look at many files in processes: a file that hangs its reader or crashes it costs nothing but itself."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from ophclip.cache.processes import end_with_parent, how_it_ended, signals_held
from ophclip.errors import OphclipError

Item = TypeVar("Item")
Result = TypeVar("Result")

TICK_S = 0.1
GRACE_S = 5.0  # for a killed process to be gone

PRELOADED = ["ophclip.cache.survey", "av"]  # imported once for all processes

_forkserver = multiprocessing.get_context("forkserver")


class Looking(Generic[Item, Result]):
    """Calls `look(item)` for all items, in processes.

    `look` is picklable and does not raise. Where it takes longer than `allowed_s(item)` seconds its process
    is killed and `late(item, seconds)` stands in; where the process dies, `dead(item, how)`.
    """

    def __init__(
        self,
        items: Sequence[Item],
        look: Callable[[Item], Result],
        *,
        allowed_s: Callable[[Item], float],
        late: Callable[[Item, float], Result],
        dead: Callable[[Item, str], Result],
    ) -> None:
        self._items, self._look = items, look
        self._allowed_s, self._late, self._dead = allowed_s, late, dead
        self._readers: list[_Reader] = []
        self._results: dict[int, Result] = {}

    def results(self, num_processes: int) -> Iterator[Result]:
        """Yield the results in the order of the items.

        Raises:
            OphclipError: a process dies before it looks at anything.
        """
        numbers = iter(range(len(self._items)))
        _forkserver.set_forkserver_preload(PRELOADED)
        self._readers = [_Reader(self._look) for _ in range(min(num_processes, len(self._items)))]
        try:
            for number in range(len(self._items)):
                while number not in self._results:
                    self._hand_out(numbers)
                    self._hear()
                yield self._results.pop(number)
        finally:
            for reader in self._readers:
                reader.end()

    def _hand_out(self, numbers: Iterator[int]) -> None:
        for place, reader in enumerate(self._readers):
            if reader.number is None and (number := next(numbers, None)) is not None:
                if reader.is_dead:
                    reader = self._readers[place] = _Reader(self._look)
                reader.give(number, self._items[number])

    def _hear(self) -> None:
        busy = {reader.connection: reader for reader in self._readers if reader.number is not None}
        before = time.monotonic()
        heard = wait(list(busy), TICK_S)
        # No more than this is a wait: a machine that slept, or was stopped, is none.
        waited_s = min(time.monotonic() - before, 2 * TICK_S)
        for connection, reader in busy.items():
            number = reader.number
            assert number is not None
            item = self._items[number]
            if connection in heard:
                if reader.is_ready:
                    self._results[number] = reader.take(partial(self._dead, item))
                else:
                    reader.begin()
                continue
            reader.spent_s += waited_s if reader.is_ready else 0.0
            if reader.spent_s > (allowed_s := self._allowed_s(item)):
                reader.end()
                self._results[number] = self._late(item, allowed_s)


class _Reader:
    """A process that looks at one item after another; `number` is of the one in hand."""

    def __init__(self, look: Callable[[Any], Any]) -> None:
        self.number: int | None = None
        self.spent_s = 0.0
        self.is_ready = self.is_dead = False
        self.connection, theirs = _forkserver.Pipe()
        self._process = _forkserver.Process(target=_serve, args=(theirs, look), daemon=True)
        with signals_held():
            self._process.start()
        theirs.close()  # so that the end of the process closes the pipe

    def give(self, number: int, item: object) -> None:
        self.number, self.spent_s = number, 0.0
        with suppress(OSError):  # that it has died is heard of next
            self.connection.send(item)

    def begin(self) -> None:
        """Hear that the process has started; raises `OphclipError` if it could not."""
        try:
            self.is_ready = bool(self.connection.recv())
        except (EOFError, OSError) as error:
            raise OphclipError(
                f"a process to look at files with ended at start-up ({self.end()})",
                remedy="see above for its last words; a script needs if __name__ == '__main__' around this",
            ) from error

    def take(self, dead: Callable[[str], Any]) -> Any:
        self.number = None
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return dead(self.end())

    def end(self) -> str:
        """End the process, whatever it does, and say how it ended."""
        self.number, self.is_dead = None, True
        self._process.kill()
        self._process.join(GRACE_S)  # one that waits for a dead disk goes when the disk answers
        self.connection.close()
        return how_it_ended(self._process.exitcode or 0)


def _serve(connection: Connection, look: Callable[[Any], Any]) -> None:
    end_with_parent()
    with suppress(EOFError, OSError):
        connection.send(True)
        while True:
            connection.send(look(connection.recv()))
