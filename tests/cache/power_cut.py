# SPDX-License-Identifier: Apache-2.0
"""A disk of which, after a power cut, only what was synced is certain; the rest may be there or not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


class Disk:
    """Notes each sync below `root`; `left_out` names syncs that count as if the program had not made them."""

    def __init__(self, root: Path, left_out: Callable[[Path], bool] = lambda path: False) -> None:
        self.root = root
        self._left_out = left_out
        self._contents: dict[int, bytes] = {}  # of a file, by inode, as last synced
        self._entries: dict[int, dict[str, int]] = {}  # of a folder, by inode, as last synced
        self._held: list[int] = []  # descriptors: an inode that is gone must not come back as another file

    def sync(self, descriptor: int) -> None:
        path, state = Path(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor)
        name = path.readlink()
        if not name.is_relative_to(self.root) or self._left_out(name.relative_to(self.root)):
            return
        self._held.append(os.dup(descriptor))
        if stat.S_ISDIR(state.st_mode):
            self._entries[state.st_ino] = _entries(path)
        else:
            self._contents[state.st_ino] = path.read_bytes()

    def after_a_power_cut(self, target: Path, rng: np.random.Generator | None) -> None:
        """Write what the disk may hold: only what is certain, or with `rng` a part of what is not, too."""
        now = {entry.stat().st_ino: entry for entry in (self.root, *self.root.rglob("*"))}
        self._restore(self.root.stat().st_ino, target, now, rng)

    def close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)

    def _restore(
        self, inode: int, target: Path, now: dict[int, Path], rng: np.random.Generator | None
    ) -> None:
        if inode in self._entries or (inode in now and now[inode].is_dir()):
            target.mkdir()
            for name, child in self._some_entries(inode, now, rng).items():
                self._restore(child, target / name, now, rng)
        else:
            target.write_bytes(self._some_content(inode, now, rng))

    def _some_entries(
        self, inode: int, now: dict[int, Path], rng: np.random.Generator | None
    ) -> dict[str, int]:
        certain = self._entries.get(inode, {})
        return _entries(now[inode]) if rng is not None and inode in now and rng.random() < 0.5 else certain

    def _some_content(self, inode: int, now: dict[int, Path], rng: np.random.Generator | None) -> bytes:
        certain = self._contents.get(inode, b"")
        if rng is None or inode not in now:
            return certain
        new = now[inode].read_bytes()
        length = int(rng.integers(len(new) + 1)) if rng.random() < 0.5 else len(new)
        written = new[:length] + bytes(len(new) - length) * int(rng.integers(2))  # cut, or zeros to the end
        return certain + written[len(certain) :] if new.startswith(certain) else written


def _entries(folder: Path) -> dict[str, int]:
    return {entry.name: entry.stat().st_ino for entry in sorted(folder.iterdir())}


def watch(disk: Disk, monkeypatch: pytest.MonkeyPatch, moment: Callable[[], None]) -> None:
    """Have `moment` called before and after each sync, and after each rename and write, below the disk."""
    fsync, rename, write = os.fsync, os.rename, os.write

    def noted_fsync(descriptor: int) -> None:
        moment()
        fsync(descriptor)
        disk.sync(descriptor)
        moment()

    def noted_rename(source: Path, destination: Path) -> None:
        rename(source, destination)
        moment()

    def noted_write(descriptor: int, data: bytes) -> int:
        count = write(descriptor, data)
        moment()
        return count

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    monkeypatch.setattr(os, "write", noted_write)
