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
from ophclip.cache.journal import Commit, JournalWriter, is_live, read_commits
from ophclip.cache.layout import (
    DTYPES,
    METADATA,
    TEMPORARY_PREFIX,
    VIDEOS,
    VideoAttributes,
    array_metadata,
    chunk_path,
    folder_name,
    num_bytes,
    read_root,
)
from ophclip.cache.root import check_provenance, make_root
from ophclip.errors import OphclipError, UsageError
from ophclip.files import fsync_folder, write_all, write_file

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
            make_root(path, provenance)
            check_provenance(path, read_root(path), provenance)
            self._journal = JournalWriter(path)
            self._remove_abandoned()
            self.commits = read_commits(path)
        self._shape: tuple[int, ...] = tuple(provenance["row_shape"])
        self._dtype: str = provenance["dtype"]

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
        return commit is not None and self._is_there(commit)

    def fail(self, video_id: str, reason: str, **source: Any) -> None:
        """Record why a video could not be stored; `source` says which state of which file that was."""
        with _storage_errors(self.path):
            self._journal.fail(video_id, reason, **source)

    def reaffirm(self, video_id: str) -> None:
        """Enter a stored video once more: its file failed since, and is again what it was."""
        with _storage_errors(self.path):
            self._journal.commit(self.commits[video_id])

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
        Where another writer has stored the same video in the meantime, that one stays.

        Raises:
            StorageError: the store cannot be written; nothing is committed.
        """
        folder = folder_name(video_id)
        temporary = self.path / VIDEOS / f"{TEMPORARY_PREFIX}{folder}@{self._journal.name}@{uuid.uuid4().hex}"
        shape = (len(attributes["pts"]), *self._shape)
        try:
            data_sha256 = self._write_rows(temporary, shape, rows, video_id)
            metadata = array_metadata(shape, self._dtype, {**attributes, "data_sha256": data_sha256})
            commit = Commit(
                video_id,
                folder,
                shape,
                source_path,
                attributes["source_size"],
                source_mtime_ns,
                attributes["source_sha256"],
                hashlib.sha256(metadata).hexdigest(),
            )
            with _storage_errors(self.path):
                self._write_metadata(temporary, metadata)
                with self._journal.alone(), _uninterrupted():
                    self.commits[video_id] = self._publish(temporary, commit)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return shape[0]

    def _is_there(self, commit: Commit) -> bool:
        folder = self.path / VIDEOS / commit.folder
        with suppress(OSError):
            size = chunk_path(folder, len(commit.shape)).stat().st_size
            return size == num_bytes(commit.shape, self._dtype) and (folder / METADATA).is_file()
        return False

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
                data = self._checked(batch, video_id).reshape(-1).view(np.uint8).data
                count += len(batch)
                checksum.update(data)
                with _storage_errors(self.path):
                    write_all(file.fileno(), data)
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
        write_file(temporary / METADATA, metadata)
        crash_point("after-metadata")
        for parent in (temporary, *(entry for entry in temporary.rglob("*") if entry.is_dir())):
            fsync_folder(parent)
        crash_point("before-rename")

    def _publish(self, temporary: Path, commit: Commit) -> Commit:
        """Put a complete folder into place and commit it; return the commit that stands."""
        final = self.path / VIDEOS / commit.folder
        replaced = temporary.with_name(f"{temporary.name}.old")
        if final.exists():  # an older commit, or of a process that died before its journal line
            current = read_commits(self.path).get(commit.video_id)
            if current is not None:
                if self._is_of_another_writer(current, commit):
                    return current
                self._journal.revoke(commit.video_id)
                crash_point("after-revoke")
            final.rename(replaced)
            crash_point("mid-replacement")
        try:
            temporary.rename(final)
        finally:
            shutil.rmtree(replaced, ignore_errors=True)
        crash_point("after-rename")
        fsync_folder(self.path / VIDEOS)
        crash_point("before-journal")
        self._journal.commit(commit)
        crash_point("after-journal")
        return commit

    def _is_of_another_writer(self, current: Commit, wanted: Commit) -> bool:
        """Return whether `current` is new to this writer and holds what it wants to commit."""
        return (
            current != self.commits.get(wanted.video_id)
            and current.source_sha256 == wanted.source_sha256
            and current.shape == wanted.shape
            and self._is_there(current)
        )

    def _remove_abandoned(self) -> None:
        """Remove what processes that died left behind; the folders of live writers stay."""
        for entry in (self.path / VIDEOS).glob(f"{TEMPORARY_PREFIX}*"):
            writer = entry.name.split("@")[1] if entry.name.count("@") == 2 else ""
            if not is_live(self.path, writer):
                shutil.rmtree(entry, ignore_errors=True)


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
