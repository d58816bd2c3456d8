# SPDX-License-Identifier: Apache-2.0
"""Run the steps of a chain of iterators in threads of their own, each a bounded number of items ahead."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")

JOIN_S = 10.0  # a thread that sits in a decoder for longer is left behind: it is a daemon


class ClosedError(Exception):
    """The channel was closed: there is nobody at its other end."""


class Channel(Generic[Item]):
    """A queue of at most `depth` items, which wakes both of its ends when it is closed."""

    def __init__(self, depth: int) -> None:
        self._items: deque[Item] = deque()
        self._depth = depth
        self._is_closed = self._is_finished = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        """Add an item, waiting for room.

        Raises:
            ClosedError: the channel was closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._items) < self._depth)
            if self._is_closed:
                raise ClosedError
            self._items.append(item)
            self._changed.notify_all()

    def finish(self) -> None:
        """Say that no further item comes; those in the channel can still be taken."""
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """End both sides at once; what lies in the channel is dropped."""
        with self._changed:
            self._is_closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        """Take items until the other side has finished.

        Raises:
            ClosedError: the channel was closed.
        """
        return (item for item in self.items(None) if item is not None)

    def items(self, idle_s: float | None) -> Iterator[Item | None]:
        """Take items as by iterating, and None whenever none has come for `idle_s` seconds."""
        while True:
            with self._changed:
                came = self._changed.wait_for(self._has_news, idle_s)
                if self._is_closed:
                    raise ClosedError
                if came and not self._items:
                    return
                item = self._items.popleft() if self._items else None
                self._changed.notify_all()
            yield item

    def _has_news(self) -> bool:
        return self._is_closed or self._is_finished or bool(self._items)


class Shared(Generic[Item]):
    """An iterator that several threads take from."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        with self._lock:
            return next(self._items)


class Flow:
    """The threads of one chain; closing it ends them all, wherever they are."""

    def __init__(self) -> None:
        self._channels: list[Channel[object]] = []
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def adopt(self, channel: Channel[Item]) -> Iterator[Item]:
        """Return the items of a channel that others fill, which is closed with the flow."""
        self._channels.append(channel)  # type: ignore[arg-type]
        if self._is_closed:
            channel.close()
        return iter(channel)

    def ahead(
        self, items: Iterator[Item], depth: int, name: str, idle_s: float | None = None
    ) -> Iterator[Item | None]:
        """Return `items`, which a thread makes from now on, at most `depth` ahead; its errors come out too.

        With `idle_s`, None comes whenever no item has for so many seconds; without, never.
        """
        return self.merged([items], depth, name, idle_s)

    def merged(
        self, sources: Sequence[Iterator[Item]], depth: int, name: str, idle_s: float | None = None
    ) -> Iterator[Item | None]:
        """Return the items of all `sources` as they come; a thread makes those of each. See `ahead`."""
        channel: Channel[Item] = Channel(depth)
        failures: list[BaseException] = []
        running = Shared(iter(range(len(sources) - 1)))
        self._channels.append(channel)  # type: ignore[arg-type]
        if self._is_closed:
            channel.close()
        for items in sources:
            pump = partial(_pump, items, channel, failures, running)
            thread = threading.Thread(target=pump, name=f"ophclip {name}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return _drained(channel, failures, idle_s)

    def close(self) -> None:
        """Tell the threads to end; those who wait for their items get a `ClosedError`."""
        self._is_closed = True
        for channel in self._channels:
            channel.close()

    def join(self) -> None:
        """Wait until the threads have ended, once they were told to."""
        deadline = time.monotonic() + JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _pump(
    items: Iterator[Item], channel: Channel[Item], failures: list[BaseException], others: Shared[int]
) -> None:
    """Put all items into the channel; the last one of those who do, or one that fails, finishes it."""
    try:
        with suppress(ClosedError):
            for item in items:
                channel.put(item)
    except BaseException as error:  # whatever it is, it belongs to the one who asked for the items
        failures.append(error)
        channel.finish()
    if next(others, None) is None:
        channel.finish()


def _drained(
    channel: Channel[Item], failures: list[BaseException], idle_s: float | None
) -> Iterator[Item | None]:
    yield from channel.items(idle_s)
    if failures:
        raise failures[0]
