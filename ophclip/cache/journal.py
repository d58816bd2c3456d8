# SPDX-License-Identifier: Apache-2.0
"""The journal: one append-only file a writer; a video is committed when its line is whole and on disk.

In an object store, where nothing can be appended to, it is the same lines in objects: `remote_journal`.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from ophclip.cache.crash import crash_point, crashes_at
from ophclip.cache.layout import JOURNAL
from ophclip.cache.location import Location, ObjectPath
from ophclip.cache.remote_lines import journal_objects
from ophclip.cache.seal import sealed
from ophclip.errors import DamageError
from ophclip.files import fsync_folder, write_all

COMMITS, FAILURES = "commits", "failed"
LOCK = "lock"  # held by the writer that is putting a folder into place


class Commit(NamedTuple):
    """One committed video: enough to map its rows without reading its metadata.

    A named tuple is made in a third of the time of a frozen dataclass, and opening a cache makes one a video.
    """

    video_id: str
    folder: str
    shape: tuple[int, ...]
    source_path: str
    source_size: int  # bytes
    source_mtime_ns: int
    source_sha256: str
    metadata_sha256: str = ""  # of the video's zarr.json; "" where the line does not say


Content = TypeVar("Content")

_decode = json.JSONDecoder().raw_decode  # half the time of json.loads


class JournalWriter:
    """Appends to the journal files of one writer, which no other writer touches.

    While it is open it holds a lock on its own file, which tells others that its temporary folders are live.
    Its entries are later than all it found, also where the clock of another machine, or its own, was ahead.
    """

    def __init__(self, cache: Path) -> None:
        self.name = writer_name()
        self._folder = cache / JOURNAL
        self._folder.mkdir(exist_ok=True)
        self._last_ns = last_time_ns(cache)
        self._commits = os.open(self._path(COMMITS), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
        fcntl.flock(self._commits, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fsync_folder(self._folder)
        fsync_folder(cache)

    def commit(self, commit: Commit) -> None:
        """Make a video visible to readers; on return the line is on disk."""
        self._append(self._commits, commit._asdict())

    def revoke(self, video_id: str) -> None:
        """Make a committed video invisible, before its folder is replaced."""
        self._append(self._commits, {"video_id": video_id, "revoked": True})

    def fail(self, video_id: str, reason: str, **source: Any) -> None:
        """Record why a video could not be stored; `source` says which state of which file that was."""
        descriptor = os.open(self._path(FAILURES), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
        try:
            self._append(descriptor, {"video_id": video_id, "reason": reason} | source)
        finally:
            os.close(descriptor)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other writer put a folder into place until the block ends, also if this process dies."""
        descriptor = os.open(self._folder / LOCK, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing alone would leave it to a forked child
            os.close(descriptor)

    def close(self) -> None:
        """Release the files; one that nothing was written to is removed."""
        if os.fstat(self._commits).st_size == 0:
            self._path(COMMITS).unlink(missing_ok=True)
        os.close(self._commits)

    def _path(self, kind: str) -> Path:
        return self._folder / f"{kind}-{self.name}.jsonl"

    def _append(self, descriptor: int, entry: dict[str, Any]) -> None:
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        line = line_of(entry, self._last_ns)
        if crashes_at("torn-journal"):
            write_all(descriptor, line[: len(line) // 2])
            crash_point("torn-journal")
        end = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, line)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, end)  # half a line must not be glued to the next one
            raise


def writer_name() -> str:
    """Return a name for a new writer, which no other has."""
    return f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def line_of(entry: dict[str, Any], time_ns: int) -> bytes:
    """Return an entry as the line that is written."""
    return sealed(json.dumps(entry | {"time_ns": time_ns}, separators=(",", ":")).encode())


def last_time_ns(cache: Location) -> int:
    """Return the time of the latest entry on a commit, in nanoseconds since 1970; 0 where there is none."""
    return max((time_ns for time_ns, _, _ in _read_entries(cache, COMMITS, _commit_or_revocation)), default=0)


def read_commits(cache: Location) -> dict[str, Commit]:
    """Return the committed videos by id, sorted by id.

    A torn last line, which a power cut leaves, is no commit.

    Raises:
        DamageError: another line cannot be read.
    """
    commits: dict[str, Commit] = {}
    with _no_garbage_collection():
        for _, video_id, commit in _read_entries(cache, COMMITS, _commit_or_revocation):
            if commit is None:
                commits.pop(video_id, None)
            else:
                commits[video_id] = commit
        return {video_id: commits[video_id] for video_id in sorted(commits)}


def read_failures(cache: Location) -> dict[str, str]:
    """Return the reasons of the videos whose last word is a failure, by id.

    A video may be committed and failed: its file has become bad, and the rows of the good one are kept.
    """
    commits = _read_entries(cache, COMMITS, _commit_or_revocation)
    committed_ns = {video_id: time_ns for time_ns, video_id, commit in commits if commit is not None}
    return {
        video_id: entry["reason"]
        for video_id, entry in last_failures(cache).items()
        if entry["time_ns"] > committed_ns.get(video_id, -1)
    }


def last_failures(cache: Location) -> dict[str, dict[str, Any]]:
    """Return the last failure of each video that ever had one, as it was recorded."""
    return {video_id: entry for _, video_id, entry in _read_entries(cache, FAILURES, _failure)}


def is_live(cache: Location, writer: str) -> bool:
    """Return whether the writer of that name still runs: whether it holds its lock; a store has none."""
    if isinstance(cache, ObjectPath):
        return False
    path = cache / JOURNAL / f"{COMMITS}-{writer}.jsonl"
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def count_writers(cache: Location) -> tuple[int, int | None]:
    """Return how many writers have entered something, and how many still run; nobody knows in a store."""
    if isinstance(cache, ObjectPath):
        objects = journal_objects(cache, COMMITS)
        return len({name.rpartition("-")[0] if "/" in name else name for name in objects}), None
    names = [file.stem.removeprefix(f"{COMMITS}-") for file in (cache / JOURNAL).glob(f"{COMMITS}-*.jsonl")]
    return len(names), sum(is_live(cache, name) for name in names)


def _read_entries(
    cache: Location, kind: str, content: Callable[[dict[str, Any]], Content]
) -> list[tuple[int, str, Content]]:
    """Return time, video id and content of each entry, in the order of their times."""
    entries = [
        entry for where, file in _journal_files(cache, kind) for entry in _read_journal(where, file, content)
    ]
    entries.sort(key=itemgetter(0))  # across writers, the last word counts
    return entries


def _journal_files(cache: Location, kind: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield each file of the journal, with where it lies."""
    if isinstance(cache, ObjectPath):
        for name, text in journal_objects(cache, kind).items():
            yield str(cache / JOURNAL / name), BytesIO(text)
        return
    folder = cache / JOURNAL
    if not folder.is_dir():
        raise DamageError(
            f"{folder} is missing, so nothing counts as committed",
            remedy="restore it, or run the same cache build again",
        )
    for path in sorted(folder.glob(f"{kind}-*.jsonl")):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue
        with file:
            yield str(path), file


def _read_journal(
    where: str, file: IO[bytes], content: Callable[[dict[str, Any]], Content]
) -> Iterator[tuple[int, str, Content]]:
    """Yield the entries of one file, a line at a time: a corpus has 50,000."""
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            return  # torn
        try:
            yield _parse(line[:-1].decode(), content)
        except (ValueError, TypeError, KeyError) as error:
            if b"\0" in line and b"\n" not in file.read():
                return  # a power cut can leave a block of zeros before the last newline
            raise DamageError(
                f"{where}:{number}: not a journal line",
                remedy=f"restore it, or remove {where.rpartition('/')[0]} and run the same cache build again",
            ) from error


def _parse(line: str, content: Callable[[dict[str, Any]], Content]) -> tuple[int, str, Content]:
    entry, end = _decode(line)
    if end != len(line):
        raise ValueError("one object a line")
    time_ns, video_id = entry["time_ns"], entry["video_id"]
    if type(video_id) is not str or type(time_ns) is not int:
        raise TypeError("a video id and a time belong to each line")
    return time_ns, video_id, content(entry)


def _commit_or_revocation(entry: dict[str, Any]) -> Commit | None:
    if entry.get("revoked"):
        return None
    video_id, folder = entry["video_id"], entry["folder"]
    if type(folder) is not str or "/" in folder or folder.startswith("."):
        raise ValueError("a cache from elsewhere must not lead out of itself")
    shape = tuple(entry["shape"])
    for side in shape:
        if type(side) is not int or side < 0:
            raise ValueError("a side is a number of rows")
    return Commit(
        video_id,
        video_id if folder == video_id else folder,  # one text in memory
        shape,
        entry["source_path"],
        entry["source_size"],
        entry["source_mtime_ns"],
        entry["source_sha256"],
        entry.get("metadata_sha256", ""),
    )


def _failure(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "reason": entry["reason"]}  # which must be there


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Making 50,000 commits has the collector look through them all, again and again: a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _host() -> str:
    return "".join(letter for letter in socket.gethostname() if letter.isalnum())[:24] or "host"
