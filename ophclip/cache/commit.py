# SPDX-License-Identifier: Apache-2.0
"""Store one video so that it is either complete and committed, or invisible.

Order: rows, fsync, metadata, fsync, rename, fsync of the folder, then one fsynced line in the journal.
Readers trust the journal alone, so a process killed anywhere leaves nothing that can be read as a video.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip.cache.crash import crash_point
from ophclip.cache.journal import Commit, JournalWriter, fsync_folder, is_live, read_commits
from ophclip.cache.layout import (
    DTYPES,
    FORMAT_VERSION,
    JOURNAL,
    METADATA,
    TEMPORARY_PREFIX,
    VIDEOS,
    VideoAttributes,
    array_metadata,
    chunk_path,
    folder_name,
    group_metadata,
    num_bytes,
    read_root,
)
from ophclip.errors import OphclipError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class StorageError(OphclipError):
    """The store cannot be written: every further video would fail too."""


class CacheWriter:
    """Writes videos of one provenance into a cache, made if it is not there; also beside other writers."""

    def __init__(self, path: Path, provenance: dict[str, Any]) -> None:
        """Open the cache at `path` for writing.

        Raises:
            UsageError: it was built with another provenance, or `path` is something else.
            StorageError: it cannot be written.
        """
        self.path = path
        with _storage_errors(path):
            _make_root(path, provenance)
            check_provenance(path, read_root(path), provenance)
            self._journal = JournalWriter(path)
            self._remove_abandoned()
        self._shape: tuple[int, ...] = tuple(provenance["row_shape"])
        self._dtype: str = provenance["dtype"]
        self.commits = read_commits(path)

    def close(self) -> None:
        """Release the journal."""
        self._journal.close()

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def is_stored(self, video_id: str) -> bool:
        """Return whether a video is committed and its rows are all there."""
        commit = self.commits.get(video_id)
        if commit is None:
            return False
        chunk = chunk_path(self.path / VIDEOS / commit.folder, len(commit.shape))
        with suppress(OSError):
            return chunk.stat().st_size == num_bytes(commit.shape, self._dtype)
        return False

    def fail(self, video_id: str, reason: str) -> None:
        """Record why a video could not be stored."""
        with _storage_errors(self.path):
            self._journal.fail(video_id, reason)

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
        folder = folder_name(video_id)
        temporary = self.path / VIDEOS / f"{TEMPORARY_PREFIX}{folder}@{self._journal.name}@{uuid.uuid4().hex}"
        shape = (len(attributes["pts"]), *self._shape)
        try:
            data_sha256 = self._write_rows(temporary, shape, rows, video_id)
            complete: VideoAttributes = {**attributes, "data_sha256": data_sha256}
            commit = Commit(
                video_id,
                folder,
                shape,
                source_path,
                attributes["source_size"],
                source_mtime_ns,
                attributes["source_sha256"],
            )
            with _storage_errors(self.path), _uninterrupted():
                self._write_metadata(temporary, array_metadata(shape, self._dtype, complete))
                self._publish(temporary, commit)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self.commits[video_id] = commit
        return shape[0]

    def _write_rows(
        self, temporary: Path, shape: tuple[int, ...], rows: Iterable[NDArray[Any]], video_id: str
    ) -> str:
        chunk = chunk_path(temporary, len(shape))
        checksum, count = hashlib.sha256(), 0
        crash_point("before-data")
        with _storage_errors(self.path):
            chunk.parent.mkdir(parents=True)
            file = chunk.open("wb", buffering=0)
        with file:
            for batch in rows:
                data = self._checked(batch, video_id).data.cast("B")
                count += len(batch)
                checksum.update(data)
                with _storage_errors(self.path):
                    _write_all(file.fileno(), data)
                crash_point("mid-data")
            if count != shape[0]:
                raise OphclipError(
                    f"{video_id}: {shape[0]} rows were planned, got {count}", remedy="check the encoder"
                )
            with _storage_errors(self.path):
                os.fsync(file.fileno())
        crash_point("after-data")
        return checksum.hexdigest()

    def _checked(self, batch: NDArray[Any], video_id: str) -> NDArray[Any]:
        if batch.ndim < 1 or batch.shape[1:] != self._shape or batch.dtype != DTYPES[self._dtype]:
            raise UsageError(
                f"{video_id}: the encoder must give {self._dtype} [n, {', '.join(map(str, self._shape))}], "
                f"got {batch.dtype} {list(batch.shape)}",
                remedy="mend the encoder's row_shape and dtype",
            )
        if batch.dtype.kind == "f" and not np.isfinite(batch).all():
            raise OphclipError(
                f"{video_id}: the features must be finite, got inf or nan", remedy="check the encoder's range"
            )
        return np.ascontiguousarray(batch, dtype=DTYPES[self._dtype])

    def _write_metadata(self, temporary: Path, metadata: bytes) -> None:
        _write_file(temporary / METADATA, metadata)
        crash_point("after-metadata")
        for parent in (temporary, *(entry for entry in temporary.rglob("*") if entry.is_dir())):
            fsync_folder(parent)
        crash_point("before-rename")

    def _publish(self, temporary: Path, commit: Commit) -> None:
        final = self.path / VIDEOS / commit.folder
        if final.exists():  # an older commit, or of a process that died before its journal line
            if commit.video_id in read_commits(self.path):
                self._journal.revoke(commit.video_id)
            final.rename(temporary.with_name(f"{temporary.name}.old"))
        try:
            temporary.rename(final)
        finally:
            shutil.rmtree(temporary.with_name(f"{temporary.name}.old"), ignore_errors=True)
        crash_point("after-rename")
        fsync_folder(self.path / VIDEOS)
        crash_point("before-journal")
        self._journal.commit(commit)
        crash_point("after-journal")

    def _remove_abandoned(self) -> None:
        """Remove what processes that died left behind; the folders of live writers stay."""
        for entry in (self.path / VIDEOS).glob(f"{TEMPORARY_PREFIX}*"):
            writer = entry.name.split("@")[1] if entry.name.count("@") == 2 else ""
            if not is_live(self.path, writer):
                shutil.rmtree(entry, ignore_errors=True)


def check_provenance(path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse to mix features: every key but the versions must agree.

    Raises:
        UsageError: one differs; names it and both values.
    """
    for key in sorted((stored.keys() | wanted.keys()) - {"versions"}):
        if stored.get(key) != wanted.get(key):
            raise UsageError(
                f"{path} was built with {key} = {stored.get(key)!r}, this run has {wanted.get(key)!r}",
                remedy=f"pass the same {key}, or another --out",
            )


def _make_root(path: Path, provenance: dict[str, Any]) -> None:
    if not (path / METADATA).exists():
        if path.exists() and (not path.is_dir() or any(path.iterdir())) and not (path / VIDEOS).is_dir():
            raise UsageError(f"{path} exists and is not a cache", remedy="name another --out")
        (path / VIDEOS).mkdir(parents=True, exist_ok=True)
        (path / JOURNAL).mkdir(exist_ok=True)
        _write_once(path / VIDEOS / METADATA, group_metadata({}))
        attributes = {"format_version": FORMAT_VERSION, "provenance": provenance}
        _write_once(path / METADATA, group_metadata(attributes))
        fsync_folder(path / VIDEOS)
        fsync_folder(path)


def _write_once(path: Path, data: bytes) -> None:
    """Write a file that appears whole; of two processes at once, the first one's stays."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        _write_file(temporary, data)
        with suppress(FileExistsError):
            _link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except (
        OSError
    ):  # some file systems have no links: two first writers at the same instant are not told apart
        source.rename(target)


def _write_file(path: Path, data: bytes) -> None:
    with path.open("xb", buffering=0) as file:
        _write_all(file.fileno(), memoryview(data))
        os.fsync(file.fileno())


def _write_all(descriptor: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(descriptor, data) :]


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}",
            remedy="free space or mend the permissions, then run the same command again: it goes on",
        ) from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
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
