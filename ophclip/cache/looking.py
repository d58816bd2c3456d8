# SPDX-License-Identifier: Apache-2.0
"""Look at many files in threads, none of which may hang the whole: one that takes too long is left behind.

A thread that waits for a dead disk cannot be ended. It is a daemon and nobody waits for it any more; another
takes its place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Generic, TypeVar

from ophclip.cache.flow import Shared

Item = TypeVar("Item")
Result = TypeVar("Result")

TICK_S = 0.1


class Looking(Generic[Item, Result]):
    """Calls `look(item)` for all items, `late(item, seconds)` for those on which it takes too long.

    `allowed_s(item)` says how long that is. `look` must not raise.
    """

    def __init__(
        self,
        items: Sequence[Item],
        look: Callable[[Item], Result],
        late: Callable[[Item, float], Result],
        allowed_s: Callable[[Item], float],
    ) -> None:
        self._items, self._look, self._late, self._allowed_s = items, look, late, allowed_s
        self._numbers = Shared(iter(range(len(items))))
        self._results: dict[int, Result] = {}
        self._spent_s: dict[int, float] = {}  # of those that are being looked at
        self._news = threading.Condition()

    def results(self, num_threads: int) -> Iterator[Result]:
        """Yield the results in the order of the items."""
        for _ in range(min(num_threads, len(self._items))):
            self._start()
        for number in range(len(self._items)):
            while True:
                with self._news:
                    before = time.monotonic()
                    self._news.wait_for(partial(self._results.__contains__, number), TICK_S)
                    # No more than this is a wait: a machine that slept, or was stopped, is none.
                    self._count(min(time.monotonic() - before, 2 * TICK_S))
                    if number in self._results:
                        break
            yield self._results.pop(number)

    def _start(self) -> None:
        threading.Thread(target=self._run, name="ophclip look", daemon=True).start()

    def _run(self) -> None:
        for number in self._numbers:
            with self._news:
                self._spent_s[number] = 0.0
            result = self._look(self._items[number])
            with self._news:
                if self._spent_s.pop(number, None) is None:
                    return  # given up; another thread has taken over
                self._results[number] = result
                self._news.notify_all()

    def _count(self, seconds: float) -> None:
        for number, spent_s in list(self._spent_s.items()):
            self._spent_s[number] = spent_s + seconds
            allowed_s = self._allowed_s(self._items[number])
            if self._spent_s[number] > allowed_s:
                del self._spent_s[number]
                self._results[number] = self._late(self._items[number], allowed_s)
                self._start()
