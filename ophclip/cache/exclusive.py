# SPDX-License-Identifier: Apache-2.0
"""One process at a time in a folder that is being written, and what to say when the disk does not take it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ophclip.cache.location import Location
from ophclip.errors import StorageError, UsageError


@contextmanager
def alone_in(folder: Path, lock: str, doing: str) -> Iterator[None]:
    """Make a folder and hold the lock `folder/lock` until the block ends, also if this process dies.

    Raises:
        UsageError: another process holds it.
    """
    descriptor = _locked(folder / lock, doing)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _locked(path: Path, doing: str) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise UsageError(f"another process is {doing}", remedy="let it finish") from error
        if _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)  # its folder was renamed or removed just now


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def disk_errors(path: Location | str) -> Iterator[None]:
    """Turn errors of the file system into a `StorageError`."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}",
            remedy="free space or mend the permissions, then run the same command again: it goes on",
        ) from error
