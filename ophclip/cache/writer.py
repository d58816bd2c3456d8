# SPDX-License-Identifier: Apache-2.0
"""What a build asks of a writer of videos, wherever they are stored."""

from __future__ import annotations

import hashlib
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self

from ophclip.cache.exclusive import disk_errors
from ophclip.cache.journal import Commit
from ophclip.cache.layout import VideoAttributes
from ophclip.cache.location import Location, ObjectPath

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Journal(Protocol):
    """The journal of one writer; what it raises means that the store cannot be written."""

    def commit(self, commit: Commit) -> None: ...

    def fail(self, video_id: str, reason: str, **source: Any) -> None: ...

    def close(self) -> None: ...


class Writer(ABC):
    """Writes videos of one provenance into a cache. `commits` are those that it knows of, by id."""

    def __init__(self, path: Location, provenance: dict[str, Any], journal: Journal) -> None:
        self.path = path
        self.commits: dict[str, Commit] = {}
        self._journal = journal
        self._shape: tuple[int, ...] = tuple(provenance["row_shape"])
        self._dtype: str = provenance["dtype"]

    def close(self) -> None:
        """Release the journal."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @abstractmethod
    def is_stored(self, video_id: str) -> bool:
        """Return whether a video is committed and, as far as can be told at once, all there."""

    def fail(self, video_id: str, reason: str, **source: Any) -> None:
        """Record why a video could not be stored; `source` says which state of which file that was."""
        with disk_errors(self.path):
            self._journal.fail(video_id, reason, **source)

    def reaffirm(self, video_id: str) -> None:
        """Enter a stored video once more: its file failed since, and is again what it was."""
        with disk_errors(self.path):
            self._journal.commit(self.commits[video_id])

    @abstractmethod
    def store(
        self,
        video_id: str,
        rows: Iterable[NDArray[Any]],
        attributes: VideoAttributes,
        *,
        source_path: str,
        source_mtime_ns: int,
    ) -> int:
        """Store and commit one video; return its number of rows.

        `rows` are batches `[n, *row_shape]`, together one row an entry of `attributes["pts"]`;
        `attributes["data_sha256"]` is set here. Errors of `rows` pass through and leave nothing behind.

        Raises:
            StorageError: the store cannot be written; nothing is committed.
        """


def open_writer(path: Location, provenance: dict[str, Any]) -> Writer:
    """Open the cache at `path` for writing; it is made if it is not there. Also beside other writers.

    Raises:
        UsageError: it was built with another provenance, or `path` is something else.
        StorageError: it cannot be written.
    """
    if isinstance(path, ObjectPath):
        from ophclip.cache.remote_commit import RemoteWriter

        return RemoteWriter(path, provenance)
    from ophclip.cache.commit import CacheWriter

    return CacheWriter(path, provenance)


def commit_of(
    folder: str,
    shape: tuple[int, ...],
    metadata: bytes,
    attributes: VideoAttributes,
    source_path: str,
    source_mtime_ns: int,
) -> Commit:
    """Return the commit of a video whose `metadata` lie in `folder`."""
    return Commit(
        attributes["video_id"],
        folder,
        shape,
        source_path,
        attributes["source_size"],
        source_mtime_ns,
        attributes["source_sha256"],
        hashlib.sha256(metadata).hexdigest(),
    )


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM until the block ends: a commit is short, and is finished."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handlers = {
        number: signal.signal(number, lambda got, _frame: received.append(got))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
