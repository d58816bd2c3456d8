# SPDX-License-Identifier: Apache-2.0
"""The journal: one append-only file a writer; a video is committed when its line is whole and on disk."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ophclip.cache.crash import crash_point, crashes_at
from ophclip.cache.layout import JOURNAL
from ophclip.errors import DamageError
from ophclip.files import fsync_folder, write_all

COMMITS, FAILURES = "commits", "failed"
LOCK = "lock"  # held by the writer that is putting a folder into place


@dataclass(frozen=True)
class Commit:
    """One committed video: enough to map its rows without reading its metadata."""

    video_id: str
    folder: str
    shape: tuple[int, ...]
    source_path: str
    source_size: int  # bytes
    source_mtime_ns: int
    source_sha256: str


COMMIT_KEYS = tuple(field.name for field in fields(Commit))


class JournalWriter:
    """Appends to the journal files of one writer, which no other writer touches.

    While it is open it holds a lock on its own file, which tells others that its temporary folders are live.
    Its entries are later than all it found, also where the clock of another machine, or its own, was ahead.
    """

    def __init__(self, cache: Path) -> None:
        self.name = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._folder = cache / JOURNAL
        self._folder.mkdir(exist_ok=True)
        self._last_ns = max((entry["time_ns"] for entry in _read_entries(cache, COMMITS)), default=0)
        self._commits = os.open(self._path(COMMITS), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
        fcntl.flock(self._commits, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fsync_folder(self._folder)
        fsync_folder(cache)

    def commit(self, commit: Commit) -> None:
        """Make a video visible to readers; on return the line is on disk."""
        self._append(self._commits, asdict(commit))

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
        line = json.dumps(entry | {"time_ns": self._last_ns}, separators=(",", ":")).encode() + b"\n"
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


def read_commits(cache: Path) -> dict[str, Commit]:
    """Return the committed videos by id, sorted by id.

    A torn last line, which a power cut leaves, is no commit.

    Raises:
        DamageError: another line cannot be read.
    """
    commits: dict[str, Commit] = {}
    for entry in _read_entries(cache, COMMITS):
        if entry.get("revoked"):
            commits.pop(entry["video_id"], None)
        else:
            commit = Commit(**{key: entry[key] for key in COMMIT_KEYS} | {"shape": tuple(entry["shape"])})
            commits[commit.video_id] = commit
    return dict(sorted(commits.items()))


def read_failures(cache: Path) -> dict[str, str]:
    """Return the reasons of the videos whose last word is a failure, by id.

    A video may be committed and failed: its file has become bad, and the rows of the good one are kept.
    """
    commits = (entry for entry in _read_entries(cache, COMMITS) if not entry.get("revoked"))
    committed_ns = {entry["video_id"]: entry["time_ns"] for entry in commits}
    return {
        video_id: entry["reason"]
        for video_id, entry in last_failures(cache).items()
        if entry["time_ns"] > committed_ns.get(video_id, -1)
    }


def last_failures(cache: Path) -> dict[str, dict[str, Any]]:
    """Return the last failure of each video that ever had one, as it was recorded."""
    return {entry["video_id"]: entry for entry in _read_entries(cache, FAILURES)}


def is_live(cache: Path, writer: str) -> bool:
    """Return whether the writer of that name still runs: whether it holds its lock."""
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


def _read_entries(cache: Path, kind: str) -> list[dict[str, Any]]:
    folder = cache / JOURNAL
    if not folder.is_dir():
        raise DamageError(
            f"{folder} is missing, so nothing counts as committed",
            remedy="restore it, or run the same cache build again",
        )
    paths = sorted(folder.glob(f"{kind}-*.jsonl"))
    entries = [entry for path in paths for entry in _read_journal(path, kind)]
    return sorted(entries, key=lambda entry: entry["time_ns"])  # across writers, the last word counts


def _read_journal(path: Path, kind: str) -> list[dict[str, Any]]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = text.split(b"\n")[:-1]  # what follows the last newline was torn
    entries = []
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and b"\0" in line:
            break  # a power cut can leave a block of zeros before the newline
        try:
            entries.append(_parse(line, kind))
        except (ValueError, TypeError, KeyError) as error:
            raise DamageError(
                f"{path}:{number}: not a journal line",
                remedy=f"restore it, or remove {path.parent} and run the same cache build again",
            ) from error
    return entries


def _parse(line: bytes, kind: str) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(line)
    if not isinstance(entry["video_id"], str) or not isinstance(entry["time_ns"], int):
        raise TypeError("a video id and a time belong to each line")
    is_whole = entry.get("revoked") or _is_commit(entry) if kind == COMMITS else "reason" in entry
    if not is_whole:
        raise TypeError("keys are missing")
    return entry


def _is_commit(entry: dict[str, Any]) -> bool:
    folder, shape = entry["folder"], entry["shape"]
    return (
        all(key in entry for key in COMMIT_KEYS)
        and "/" not in folder  # a cache from elsewhere must not lead out of itself
        and not folder.startswith(".")
        and all(isinstance(side, int) and side >= 0 for side in shape)
    )


def _host() -> str:
    return "".join(letter for letter in socket.gethostname() if letter.isalnum())[:24] or "host"
