# SPDX-License-Identifier: Apache-2.0
"""Which videos a build reads, and under which ids."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ophclip.corpus import read_corpus
from ophclip.errors import UsageError
from ophclip.video.header import SUFFIXES


@dataclass(frozen=True)
class CacheInput:
    """A video file and the id under which its rows are stored."""

    video_id: str
    path: Path


def find_inputs(paths: Sequence[Path]) -> list[CacheInput]:
    """List the videos of corpora (folders with videos.csv), folders (searched to the bottom) and files.

    The id of a file is its stem; where stems collide, each takes a hash of its path as a suffix. A corpus
    names its own ids.

    Raises:
        UsageError: a path is not there, there are no videos, or two corpora share an id.
    """
    named: list[CacheInput] = []
    files: list[Path] = []
    for path in paths:
        if (path / "videos.csv").is_file():
            videos = read_corpus(path).videos.values()
            named += [CacheInput(video.video_id, video.path.absolute()) for video in videos]
        elif path.is_dir():
            files += sorted(entry for entry in path.rglob("*") if _is_video(entry))
        elif path.is_file():
            files.append(path)
        else:
            raise UsageError(f"{path} is neither a file nor a folder", remedy="check the path")
    inputs = list(dict.fromkeys(named + _with_ids(list(dict.fromkeys(file.absolute() for file in files)))))
    if not inputs:
        raise UsageError(
            f"no videos in {', '.join(map(str, paths))}", remedy=f"looked for {' '.join(sorted(SUFFIXES))}"
        )
    shared = [name for name, count in Counter(item.video_id for item in inputs).items() if count > 1]
    if shared:
        raise UsageError(f"video id {shared[0]!r} names two videos", remedy="build them into two caches")
    return inputs


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _with_ids(files: list[Path]) -> list[CacheInput]:
    stems = [as_text(file.stem) for file in files]
    uses = Counter(stems)
    return [
        CacheInput(stem if uses[stem] == 1 else f"{stem}-{_path_hash(file)}", file)
        for stem, file in zip(stems, files, strict=True)
    ]


def as_text(name: str) -> str:
    """Return a file name as it can be printed and stored: bytes that are not UTF-8 as hexadecimal escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _path_hash(file: Path) -> str:
    return hashlib.sha256(os.fsencode(file)).hexdigest()[:8]
