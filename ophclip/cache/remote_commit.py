# SPDX-License-Identifier: Apache-2.0
"""Store one video in an object store so that it is either complete and committed, or invisible.

Order: the object of the rows, that of the metadata, then the journal line, each by a PUT that is done whole
or not at all. The folder is named after the metadata, which hold the checksum of the rows. So objects are
never replaced by others, whoever writes the same video at the same time, and what a killed writer left is
what its successor would write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from tempfile import SpooledTemporaryFile, gettempdir
from typing import TYPE_CHECKING, Any

from ophclip.cache.crash import crash_point
from ophclip.cache.exclusive import disk_errors
from ophclip.cache.journal import read_commits
from ophclip.cache.layout import (
    METADATA,
    VIDEOS,
    VideoAttributes,
    array_metadata,
    chunk_path,
    folder_name,
    read_root,
)
from ophclip.cache.location import ObjectPath
from ophclip.cache.objects import SPOOL_BYTES
from ophclip.cache.remote_journal import RemoteJournal
from ophclip.cache.root import check_provenance, make_remote_root
from ophclip.cache.rowcheck import checked_rows
from ophclip.cache.writer import Writer, commit_of, uninterrupted

if TYPE_CHECKING:
    from numpy.typing import NDArray

ADDRESS_LENGTH = 16  # hexadecimal digits of the metadata's SHA-256 in the name of a folder


class RemoteWriter(Writer):
    """Writes videos of one provenance into a cache in an object store; threads may share it."""

    path: ObjectPath
    _journal: RemoteJournal

    def __init__(self, path: ObjectPath, provenance: dict[str, Any]) -> None:
        """Open the cache at `path` for writing; raises as `open_writer` does."""
        make_remote_root(path, provenance)
        check_provenance(path, read_root(path), provenance)
        super().__init__(path, provenance, RemoteJournal(path))
        self.commits = read_commits(path)

    def is_stored(self, video_id: str) -> bool:
        """Return whether a video is committed: asking for its objects would take a request a video."""
        return video_id in self.commits

    def revoke(self, video_id: str) -> None:
        """Make a committed video invisible, so that it is stored anew."""
        self._journal.revoke(video_id)
        self.commits.pop(video_id, None)

    def store(
        self,
        video_id: str,
        rows: Iterable[NDArray[Any]],
        attributes: VideoAttributes,
        *,
        source_path: str,
        source_mtime_ns: int,
    ) -> int:
        """Store and commit one video; see `Writer`. The rows wait on this machine until they are complete."""
        shape = (len(attributes["pts"]), *self._shape)
        checksum = hashlib.sha256()
        crash_point("before-data")
        with SpooledTemporaryFile(SPOOL_BYTES) as spool:
            for data in checked_rows(rows, shape, self._dtype, video_id):
                checksum.update(data)
                with disk_errors(f"into {gettempdir()}"):
                    spool.write(data)
                crash_point("mid-data")
            metadata = array_metadata(shape, self._dtype, {**attributes, "data_sha256": checksum.hexdigest()})
            address = hashlib.sha256(metadata).hexdigest()[:ADDRESS_LENGTH]
            folder = f"{folder_name(video_id)}@{address}"
            place = self.path / VIDEOS / folder
            place.bucket.put(chunk_path(place, len(shape)).key, spool)
        crash_point("after-data")
        place.bucket.put((place / METADATA).key, metadata)
        crash_point("after-metadata")
        commit = commit_of(folder, shape, metadata, attributes, source_path, source_mtime_ns)
        crash_point("before-journal")
        with uninterrupted():
            self._journal.commit(commit)
            self.commits[video_id] = commit
        crash_point("after-journal")
        return shape[0]
