# SPDX-License-Identifier: Apache-2.0
"""Write the rows of an array in order; a shard appears whole, once all of its rows are known to be right."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

from ophclip.cache.crash import crash_point
from ophclip.cache.sharded import Grid
from ophclip.files import fsync_folder, write_all


class ShardWriter:
    """Writes the shards of one array into its folder; shards that are there already are kept."""

    def __init__(self, folder: Path, grid: Grid) -> None:
        self._folder, self._grid = folder, grid
        self._at = 0  # bytes of rows so far
        self._file: FileIO | None = None
        self._finished: list[int] = []
        folder.mkdir(exist_ok=True)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    def has(self, num_rows: int) -> bool:
        """Return whether all shards that hold the next rows are there."""
        begin, end = self._at, self._at + num_rows * self._grid.row_bytes
        size = self._grid.shard_bytes
        return all(self._is_there(shard) for shard in range(begin // size, -(-end // size)))

    def skip(self, num_rows: int) -> None:
        """Go past rows that `has` found."""
        self._at += num_rows * self._grid.row_bytes

    def write(self, data: memoryview) -> None:
        """Write the bytes of the next rows; those of a shard that is there are left out."""
        while len(data):
            shard, inside = divmod(self._at, self._grid.shard_bytes)
            part = data[: self._grid.shard_bytes - inside]
            if not self._is_there(shard):
                self._append(shard, part)
                if inside + len(part) == self._grid.rows_in(shard) * self._grid.row_bytes:
                    self._finish(shard)
            self._at += len(part)
            data = data[len(part) :]

    def publish(self) -> None:
        """Let the shards that are complete appear: their rows have been checked."""
        for shard in self._finished:
            target = self._folder / self._grid.shard_name(shard)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._part(shard).rename(target)
            fsync_folder(target.parent)
            crash_point("pack-after-shard")
        self._finished.clear()

    def _append(self, shard: int, part: memoryview) -> None:
        if self._file is None:
            self._file = self._part(shard).open("wb", buffering=0)
        write_all(self._file.fileno(), part)
        crash_point("pack-mid-shard")

    def _finish(self, shard: int) -> None:
        assert self._file is not None
        write_all(self._file.fileno(), self._grid.padding(shard) + self._grid.index(shard))
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        self._finished.append(shard)

    def _is_there(self, shard: int) -> bool:
        return (self._folder / self._grid.shard_name(shard)).exists()

    def _part(self, shard: int) -> Path:
        return self._folder / f".part-{shard}"
