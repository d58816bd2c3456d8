# SPDX-License-Identifier: Apache-2.0
"""The video file that rows were made from: whether it is still there, and still the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ophclip.cache.location import sha256_of
from ophclip.errors import OphclipError

if TYPE_CHECKING:
    from ophclip.cache.inputs import CacheInput
    from ophclip.cache.journal import Commit
    from ophclip.cache.writer import Writer

SourceState = Literal["same", "changed", "gone"]


@dataclass(frozen=True)
class SourceFile:
    """What tells a file that was replaced, written to or made readable from what it was before."""

    source_path: str
    source_size: int  # bytes
    source_mtime_ns: int
    source_ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> SourceFile:
        """Look at the file.

        Raises:
            OSError: it is not there.
        """
        stat = path.stat()
        return cls(str(path.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def is_named_by(self, entry: dict[str, Any]) -> bool:
        """Return whether a journal entry speaks of this file in this very state."""
        return all(entry.get(key) == value for key, value in asdict(self).items())

    def check_unchanged(self, path: Path) -> None:
        """Check that the file is what it was: a download that still runs must not be taken for a video.

        Raises:
            OphclipError: it has changed.
            OSError: it is gone.
        """
        now = SourceFile.of(path)
        if (now.source_size, now.source_mtime_ns) != (self.source_size, self.source_mtime_ns):
            raise OphclipError(
                f"{path}: the file changed while it was read", remedy="run again once it is complete"
            )


def source_state(commit: Commit) -> SourceState:
    """Compare a video file with what was stored of it; it is read only where its date alone has changed."""
    try:
        return "same" if is_source(Path(commit.source_path), commit) else "changed"
    except OSError:
        return "gone"


def is_current(item: CacheInput, writer: Writer) -> bool:
    """Return whether the rows of an input are stored and its file is the one they were made from.

    Raises:
        OSError: the file is not there.
    """
    commit = writer.commits.get(item.video_id)
    return commit is not None and writer.is_stored(item.video_id) and is_source(item.path, commit)


def is_source(path: Path, commit: Commit) -> bool:
    """Return whether a file is what a video was made from; the hash decides where only the date differs.

    Raises:
        OSError: the file is not there.
    """
    stat = path.stat()
    if stat.st_size != commit.source_size:
        return False
    return stat.st_mtime_ns == commit.source_mtime_ns or sha256_of(path) == commit.source_sha256
