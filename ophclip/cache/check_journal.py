# SPDX-License-Identifier: Apache-2.0
"""Read a journal that may be damaged: every sound line counts, and every other is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ophclip.cache.findings import Finding
from ophclip.cache.journal import COMMITS, FAILURES, Commit, is_live
from ophclip.cache.layout import JOURNAL
from ophclip.cache.location import Location, ObjectPath
from ophclip.cache.remote_lines import journal_objects
from ophclip.cache.seal import is_sealed

COMMIT_KEYS = ("folder", "source_path", "source_size", "source_mtime_ns", "source_sha256")


@dataclass
class JournalCheck:
    """What the sound lines say, by video id; `unsound` holds the files with others.

    `revoked` are videos whose writer died as it replaced them: what they were, and are no more.
    """

    commits: dict[str, Commit] = field(default_factory=dict)
    revoked: dict[str, Commit] = field(default_factory=dict)
    unsound: list[str] = field(default_factory=list)  # names below `_journal`
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def found(self, name: str, what: str) -> None:
        """Add a finding on a journal file."""
        self.findings.append(Finding(f"{JOURNAL}/{name}", "journal", what))
        self.unsound.append(name)


class JournalText(NamedTuple):
    """A file of a journal."""

    name: str  # below `_journal`
    where: str
    text: bytes


def check_journal(path: Location) -> JournalCheck:
    """Check every line of every journal of the cache at `path`; a torn last line is a note, not damage."""
    check, folder = JournalCheck(), path / JOURNAL
    if not isinstance(folder, ObjectPath) and not folder.is_dir():
        what = f"{folder} is missing, so nothing counts as committed"
        check.findings.append(Finding(JOURNAL, "journal", what))
        return check
    for file in _texts(path, FAILURES, check):
        _sound_entries(path, file, FAILURES, check)
    entries = [
        entry for file in _texts(path, COMMITS, check) for entry in _sound_entries(path, file, COMMITS, check)
    ]
    for entry in sorted(entries, key=lambda entry: entry["time_ns"]):
        _count(entry, check)
    check.commits = dict(sorted(check.commits.items()))
    return check


def _texts(path: Location, kind: str, check: JournalCheck) -> Iterator[JournalText]:
    if isinstance(path, ObjectPath):
        for name, text in journal_objects(path, kind).items():
            yield JournalText(name, str(path / JOURNAL / name), text)
        return
    for file in sorted((path / JOURNAL).glob(f"{kind}-*.jsonl")):
        try:
            yield JournalText(file.name, str(file), file.read_bytes())
        except FileNotFoundError:
            continue  # a writer that wrote nothing has just removed it
        except OSError as error:
            check.found(file.name, f"{file}: {error.strerror or error}")


def _count(entry: dict[str, Any], check: JournalCheck) -> None:
    video_id = entry["video_id"]
    before = check.commits.pop(video_id, None)
    if not entry.get("revoked"):
        check.commits[video_id] = _commit(entry)
        check.revoked.pop(video_id, None)
    elif before is not None:
        check.revoked[video_id] = before


def sound_lines(text: bytes) -> list[bytes]:
    """Return the lines of a journal that are as they were written, each with its line break."""
    return [line + b"\n" for line in text.split(b"\n") if is_sealed(line)]


def _sound_entries(path: Location, file: JournalText, kind: str, check: JournalCheck) -> list[dict[str, Any]]:
    *lines, tail = file.text.split(b"\n")
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        entry = _entry(line, kind)
        if entry is not None:
            entries.append(entry)
        elif number == len(lines) and b"\0" in line and b"\0" not in line.strip(b"\0"):
            check.notes.append(f"{file.name}: its last line ends in zeros, as after a power cut: no commit")
        else:
            check.found(file.name, f"{file.where}:{number}: not the line that was written")
    _look_at_tail(path, file, tail, kind, check)
    return entries


def _look_at_tail(path: Location, file: JournalText, tail: bytes, kind: str, check: JournalCheck) -> None:
    writer = file.name.removeprefix(f"{kind}-").removesuffix(".jsonl")
    if not tail or (kind == COMMITS and is_live(path, writer)):
        return  # a live writer may be in the middle of a line
    if is_sealed(tail) or is_sealed(tail[:-1]):
        check.found(file.name, f"{file.where}: its last line has lost its line break")
    else:
        check.notes.append(f"{file.name}: its last line is torn, as after a power cut: no commit")


def _entry(line: bytes, kind: str) -> dict[str, Any] | None:
    """Return what a line says, or None where it is not as a writer writes it."""
    if not is_sealed(line):
        return None
    try:
        entry = json.loads(line)
        is_whole = isinstance(entry["video_id"], str) and isinstance(entry["time_ns"], int)
        if kind == COMMITS and not entry.get("revoked"):
            commit = _commit(entry)
            # A cache from elsewhere must not lead out of itself.
            is_whole &= "/" not in commit.folder and not commit.folder.startswith(".")
            is_whole &= all(isinstance(side, int) and side >= 0 for side in commit.shape)
        return entry if is_whole else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _commit(entry: dict[str, Any]) -> Commit:
    sides = tuple(entry["shape"])
    known = {key: entry[key] for key in COMMIT_KEYS}
    return Commit(entry["video_id"], shape=sides, metadata_sha256=entry.get("metadata_sha256", ""), **known)
