# SPDX-License-Identifier: Apache-2.0
"""Mend a journal: drop the lines that were changed, and enter whole videos whose line was lost."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ophclip.cache.check_journal import check_journal, sound_lines
from ophclip.cache.check_store import uncommitted_folders
from ophclip.cache.check_video import check_video
from ophclip.cache.journal import COMMITS, Commit, JournalWriter, is_live
from ophclip.cache.layout import JOURNAL, METADATA, VIDEOS, folder_name
from ophclip.files import replace_file

DAMAGED = "damaged-"  # begins the name under which the file as it was is kept
TEXT = rb'"((?:[^"\\]|\\.)*)"'
REMAINS = re.compile(rb'"video_id":%s.*?"source_path":%s.*?"source_mtime_ns":(\d+)' % (TEXT, TEXT))


def drop_unsound_lines(path: Path, mended: list[str], failed: dict[str, str]) -> None:
    """Rewrite each journal file that has unsound lines without them; the file as it was is kept beside it."""
    (path / JOURNAL).mkdir(exist_ok=True)
    for unsound in check_journal(path).unsound:
        file, name = path / JOURNAL / unsound, f"{JOURNAL}/{unsound}"
        if file.stem.startswith(COMMITS) and is_live(path, file.stem.removeprefix(f"{COMMITS}-")):
            failed[name] = "its writer is running: wait for its end"
        elif name not in mended:
            text = file.read_bytes()
            replace_file(file.with_name(DAMAGED + file.name), text)
            replace_file(file, b"".join(sound_lines(text)))
            mended.append(name)


def adopt_folders(path: Path, dtype: str) -> list[str]:
    """Enter the videos that are whole but have no journal line; return their ids.

    A folder takes its final name only once it is complete and on disk, and its metadata hold the checksum of
    its rows, so that a whole one can be told.
    """
    adopted, journal = [], JournalWriter(path)
    try:
        with journal.alone():  # so that no writer is between its rename and its line
            known = check_journal(path).commits
            remains = dict(_remains(path))
            for folder in uncommitted_folders(path, known):
                commit = _commit_of(path / VIDEOS / folder, remains)
                if commit and commit.video_id not in known and _is_whole(path, commit, dtype):
                    journal.commit(commit)
                    adopted.append(commit.video_id)
    finally:
        journal.close()
    return adopted


def _is_whole(path: Path, commit: Commit, dtype: str) -> bool:
    check = check_video(path, commit, dtype)
    return not check.findings and check.data_sha256 == check.declared_sha256


def _commit_of(folder: Path, remains: dict[str, tuple[str, int]]) -> Commit | None:
    """Return the commit of a folder from its metadata, or None where they do not give one."""
    try:
        text = (folder / METADATA).read_bytes()
        document = json.loads(text)
        attributes = document["attributes"]
        video_id = str(attributes["video_id"])
        source_path, mtime_ns = remains.get(video_id, (str(attributes["source_name"]), 0))
        commit = Commit(
            video_id,
            folder.name,
            tuple(document["shape"]),
            source_path,
            attributes["source_size"],
            mtime_ns,
            attributes["source_sha256"],
            hashlib.sha256(text).hexdigest(),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return commit if folder_name(video_id) == folder.name else None


def _remains(path: Path) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield id, path and date of the video files that lines which were dropped still name."""
    for file in (path / JOURNAL).glob(f"{DAMAGED}{COMMITS}-*"):
        for video_id, source_path, mtime_ns in REMAINS.findall(file.read_bytes()):
            with suppress(ValueError):
                name = json.loads(b'"%s"' % video_id)
                yield name, (json.loads(b'"%s"' % source_path), int(mtime_ns))
