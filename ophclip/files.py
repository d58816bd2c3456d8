# SPDX-License-Identifier: Apache-2.0
"""Write files that are whole or absent, and on disk when a call returns."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write a file, new or over an old one; a reader sees the old bytes or all of the new ones."""
    with replacement(path) as temporary:
        write_file(temporary, data)


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """Give the name of a file to write, which takes the place of `path` once it is whole and on disk."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Force a folder's entries to disk: a rename or a new file survives a power cut only after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_once(path: Path, data: bytes) -> None:
    """Write a file that appears whole; of two processes at once, the first one's stays."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_file(temporary, data)
        try:
            os.link(temporary, path)
        except OSError:
            if not path.exists():  # no links there: two first writers at the same instant are not told apart
                temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Remove what processes that died in `write_once` left; `path` itself must be there."""
    for temporary in path.parent.glob(f".{path.name}.*"):
        temporary.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a new file; on return its bytes are on disk."""
    with path.open("xb", buffering=0) as file:
        write_all(file.fileno(), data)
        os.fsync(file.fileno())


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`, however little the system takes at once."""
    while len(data):
        data = data[os.write(descriptor, data) :]
