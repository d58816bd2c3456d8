# SPDX-License-Identifier: Apache-2.0
"""Reads the next batch in one background thread while this one is trained on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")


def prefetched(read: Callable[[Item], Read], items: Iterable[Item]) -> Generator[Read]:
    """Yield `read(item)` of each item in order, one ahead; what `read` raises is raised in its place."""
    with ThreadPoolExecutor(1, "batches") as pool:
        ahead: Future[Read] | None = None
        for item in items:
            current, ahead = ahead, pool.submit(read, item)
            if current is not None:
                yield current.result()
        if ahead is not None:
            yield ahead.result()
