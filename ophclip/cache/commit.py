# SPDX-License-Identifier: Apache-2.0
"""Store one video so that it is either complete and committed, or invisible.

Order: rows, fsync, metadata, fsync, rename, fsync of the folder, then one fsynced line in the journal.
Readers trust the journal alone, so a process killed anywhere leaves nothing that can be read as a video.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ophclip.cache.crash import crash_point
from ophclip.cache.exclusive import disk_errors
from ophclip.cache.journal import Commit, JournalWriter, is_live, read_commits
from ophclip.cache.layout import (
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
from ophclip.cache.rowcheck import checked_rows
from ophclip.cache.writer import Writer, commit_of, uninterrupted
from ophclip.files import fsync_folder, write_all, write_file

if TYPE_CHECKING:
    from numpy.typing import NDArray


class CacheWriter(Writer):
    """Writes videos of one provenance into a local cache, made if it is not there; also beside others."""

    path: Path
    _journal: JournalWriter

    def __init__(self, path: Path, provenance: dict[str, Any]) -> None:
        """Open the cache at `path` for writing.

        Raises:
            UsageError: it was built with another provenance, or `path` is something else.
            StorageError: it cannot be written.
        """
        with disk_errors(path):
            make_root(path, provenance)
            check_provenance(path, read_root(path), provenance)
            super().__init__(path, provenance, JournalWriter(path))
            self._remove_abandoned()
            self.commits = read_commits(path)

    def is_stored(self, video_id: str) -> bool:
        """Return whether a video is committed and its rows are all there."""
        commit = self.commits.get(video_id)
        return commit is not None and self._is_there(commit)

    def store(
        self,
        video_id: str,
        rows: Iterable[NDArray[Any]],
        attributes: VideoAttributes,
        *,
        source_path: str,
        source_mtime_ns: int,
    ) -> int:
        """Store and commit one video; see `Writer`. One that another writer has stored meanwhile stays."""
        folder = folder_name(video_id)
        temporary = self.path / VIDEOS / f"{TEMPORARY_PREFIX}{folder}@{self._journal.name}@{uuid.uuid4().hex}"
        shape = (len(attributes["pts"]), *self._shape)
        try:
            data_sha256 = self._write_rows(temporary, shape, rows, video_id)
            metadata = array_metadata(shape, self._dtype, {**attributes, "data_sha256": data_sha256})
            commit = commit_of(folder, shape, metadata, attributes, source_path, source_mtime_ns)
            with disk_errors(self.path):
                self._write_metadata(temporary, metadata)
                with self._journal.alone(), uninterrupted():
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
        checksum = hashlib.sha256()
        crash_point("before-data")
        with disk_errors(self.path):
            chunk.parent.mkdir(parents=True)
            file = chunk.open("wb", buffering=0)
        with file:
            for data in checked_rows(rows, shape, self._dtype, video_id):
                checksum.update(data)
                with disk_errors(self.path):
                    write_all(file.fileno(), data)
                crash_point("mid-data")
            with disk_errors(self.path):
                os.fsync(file.fileno())
        crash_point("after-data")
        return checksum.hexdigest()

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
