# SPDX-License-Identifier: Apache-2.0
"""The rows of a video in an object store, in an object of its own or in the shards of a packed cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ophclip.cache.location import ObjectPath
from ophclip.cache.rowfile import RowFileError
from ophclip.cache.sharded import ShardedRows, Shards

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RemoteRows:
    """An object of a known size, of which ranges are fetched; see `rowfile.RowBytes`."""

    def __init__(self, place: ObjectPath, num_bytes: int) -> None:
        self._place, self.num_bytes = place, num_bytes

    def read(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[Any]:
        """Return ranges of bytes, each as a buffer.

        Raises:
            RowFileError: the object is not there, or has become shorter.
        """
        try:
            ranges = self._place.bucket.get_ranges(self._place.key, offsets, sizes)
        except FileNotFoundError as error:
            raise RowFileError(f"{self._place}: no such object") from error
        except IndexError as error:
            raise RowFileError(str(error)) from error
        if [len(memoryview(data)) for data in ranges] != list(sizes):
            raise RowFileError(
                f"{self._place} is shorter than the {self.num_bytes} bytes that were committed"
            )
        return ranges

    def read_into(self, data: memoryview, offset: int) -> None:
        """Fill `data` with the bytes from `offset` on."""
        if len(data):
            data[:] = memoryview(self.read([offset], [len(data)])[0]).cast("B")

    def span(self, offset: int, length: int) -> NDArray[np.uint8]:
        """Return a range of bytes, read-only and in memory."""
        return np.frombuffer(self.read([offset], [length])[0], np.uint8)

    def map(self) -> NDArray[np.uint8]:
        """Return all bytes, read-only and in memory."""
        try:
            data = self._place.read_bytes()
        except FileNotFoundError as error:
            raise RowFileError(f"{self._place}: no such object") from error
        if len(data) != self.num_bytes:
            raise RowFileError(f"{self._place} has {len(data)} bytes, {self.num_bytes} were committed")
        return np.frombuffer(data, np.uint8)


class RemoteShards(Shards):
    """The shards of an array in an object store."""

    def rows(self, first: int, count: int) -> RemoteShardedRows:
        """Return rows `first` to `first + count`."""
        row_bytes = self._grid.row_bytes
        return RemoteShardedRows(self, first * row_bytes, count * row_bytes)

    def _opened(self, shard: int) -> RemoteRows:
        place = cast(ObjectPath, self._folder / self._grid.shard_name(shard))
        return RemoteRows(place, self._grid.file_bytes(shard))


class RemoteShardedRows(ShardedRows):
    """The rows of one video in an array of shards."""

    def read(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[Any]:
        """Return ranges of bytes, each as a buffer; one call for each shard. Raises as `RemoteRows.read`."""
        places: list[tuple[int, int]] = []  # of each piece: its range, and its order within that
        wanted: dict[RemoteRows, list[tuple[int, int, int]]] = defaultdict(list)
        for number, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
            for order, (shard, inside, length) in enumerate(self._parts(offset, size)):
                wanted[cast(RemoteRows, shard)].append((len(places), inside, length))
                places.append((number, order))
        pieces: dict[tuple[int, int], Any] = {}
        for shard, asked in wanted.items():
            found = shard.read([inside for _, inside, _ in asked], [length for _, _, length in asked])
            pieces |= {places[which]: data for (which, _, _), data in zip(asked, found, strict=True)}
        joined: list[list[Any]] = [[] for _ in offsets]
        for number, order in places:
            joined[number].append(pieces[number, order])
        return [parts[0] if len(parts) == 1 else b"".join(map(bytes, parts)) for parts in joined]
