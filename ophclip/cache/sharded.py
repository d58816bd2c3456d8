# SPDX-License-Identifier: Apache-2.0
"""An array in Zarr v3 shards that hold its rows in order and uncompressed, so that they can be mapped.

A shard is its inner chunks, the last one filled up with zeros, and then the index: where each inner chunk
begins and how long it is (64-bit, little-endian; all ones where there is none), and a CRC-32C.
"""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ophclip.cache.location import Location
from ophclip.cache.rowfile import MAX_FILES, RowBytes, RowFile, remember

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARD_ROWS, CHUNK_ROWS = 65_536, 256
MAX_SHARD_BYTES, MAX_CHUNK_BYTES = 1 << 30, 1 << 20  # rows that are whole frames come fewer at a time
NO_CHUNK = (1 << 64) - 1


def rows_at_a_time(row_bytes: int) -> tuple[int, int]:
    """Return the rows of a shard and of an inner chunk: 65,536 and 256, halved while they are too large."""
    shard_rows, chunk_rows = SHARD_ROWS, CHUNK_ROWS
    while chunk_rows > 1 and chunk_rows * row_bytes > MAX_CHUNK_BYTES:
        chunk_rows //= 2
    while shard_rows > chunk_rows and shard_rows * row_bytes > MAX_SHARD_BYTES:
        shard_rows //= 2
    return shard_rows, chunk_rows


@dataclass(frozen=True)
class Grid:
    """The shape of an array `[N, *row_shape]`, its type by Zarr's name, and how its rows are divided."""

    shape: tuple[int, ...]
    dtype: str
    shard_rows: int = SHARD_ROWS
    chunk_rows: int = CHUNK_ROWS

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def shard_bytes(self) -> int:
        """Bytes of the rows of a full shard."""
        return self.shard_rows * self.row_bytes

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return math.ceil(self.shape[0] / self.shard_rows)

    def rows_in(self, shard: int) -> int:
        """Return the number of rows in a shard; only the last may have fewer than the others."""
        return min(self.shard_rows, self.shape[0] - shard * self.shard_rows)

    def padding(self, shard: int) -> bytes:
        """Return the zeros that fill the last inner chunk of a shard."""
        return bytes(-self.rows_in(shard) % self.chunk_rows * self.row_bytes)

    def index(self, shard: int) -> bytes:
        """Return what ends a shard: offset and length of each inner chunk, and the checksum of both."""
        from google_crc32c import value as crc32c  # as Zarr itself needs it

        chunk_bytes = self.chunk_rows * self.row_bytes
        pairs = np.full((self.shard_rows // self.chunk_rows, 2), NO_CHUNK, dtype="<u8")
        count = math.ceil(self.rows_in(shard) / self.chunk_rows)
        pairs[:count, 0] = np.arange(count, dtype="<u8") * chunk_bytes
        pairs[:count, 1] = chunk_bytes
        return pairs.tobytes() + struct.pack("<I", crc32c(pairs.tobytes()))

    def file_bytes(self, shard: int) -> int:
        """Return the size of a shard's file."""
        rows = math.ceil(self.rows_in(shard) / self.chunk_rows) * self.chunk_rows
        return rows * self.row_bytes + self.shard_rows // self.chunk_rows * 16 + 4

    def shard_name(self, shard: int) -> str:
        """Return where a shard lies in the folder of its array."""
        return "/".join(["c", str(shard), *("0" * (len(self.shape) - 1))])

    def metadata(self) -> dict[str, Any]:
        """Return the `zarr.json` of the array."""
        inner, index = bytes_codec(self.dtype), [bytes_codec("uint64"), {"name": "crc32c"}]
        sharding = {
            "chunk_shape": [self.chunk_rows, *self.shape[1:]],
            "codecs": [inner],
            "index_codecs": index,
            "index_location": "end",
        }
        codec = {"name": "sharding_indexed", "configuration": sharding}
        return zarr_metadata(self.shape, [self.shard_rows, *self.shape[1:]], self.dtype, codec)


def zarr_metadata(
    shape: tuple[int, ...], chunk_shape: list[int], dtype: str, codec: dict[str, Any]
) -> dict[str, Any]:
    """Return the `zarr.json` of an array with one codec."""
    empty: str | float = "" if dtype == "string" else 0.0 if dtype.startswith("float") else 0
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk_shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": empty,
        "codecs": [codec],
        "attributes": {},
    }


def bytes_codec(dtype: str) -> dict[str, Any]:
    """Return the codec of raw little-endian values; one byte has no order, and Zarr writes none for it."""
    return {"name": "bytes"} | ({} if dtype == "uint8" else {"configuration": {"endian": "little"}})


class ShardBytes(RowBytes, Protocol):
    """The bytes of one shard, wherever they lie."""

    def span(self, offset: int, length: int) -> NDArray[np.uint8]:
        """Return a range of bytes, as `map` returns all; raises as `map` does."""
        ...


class Shards:
    """The shards of an array, opened when first read; the bytes of all rows, as if they lay in one file."""

    def __init__(self, folder: Location, grid: Grid) -> None:
        self._folder, self._grid = folder, grid
        self._open: OrderedDict[int, ShardBytes] = OrderedDict()

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self._folder, self._grid))  # open files do not travel between processes

    def rows(self, first: int, count: int) -> ShardedRows:
        """Return rows `first` to `first + count`."""
        row_bytes = self._grid.row_bytes
        return ShardedRows(self, first * row_bytes, count * row_bytes)

    def parts(self, offset: int, num_bytes: int) -> Iterator[tuple[ShardBytes, int, int]]:
        """Yield shard, offset in it and length of each piece of a range of bytes.

        Raises:
            RowFileError: a shard is not there, or of another size.
        """
        while num_bytes:
            shard, inside = divmod(offset, self._grid.shard_bytes)
            length = min(num_bytes, self._grid.shard_bytes - inside)
            opened = self._open.get(shard)
            if opened is None:
                opened = remember(self._open, shard, self._opened(shard), MAX_FILES)
            yield opened, inside, length
            offset, num_bytes = offset + length, num_bytes - length

    def _opened(self, shard: int) -> ShardBytes:
        return RowFile(f"{self._folder}/{self._grid.shard_name(shard)}", self._grid.file_bytes(shard))


class ShardedRows:
    """The rows of one video in an array of shards; see `RowBytes`."""

    def __init__(self, shards: Shards, first_byte: int, num_bytes: int) -> None:
        self._shards, self._first_byte, self.num_bytes = shards, first_byte, num_bytes

    def read_into(self, data: memoryview, offset: int) -> None:
        """Fill `data` with the bytes from `offset` on; see `RowBytes`."""
        for shard, inside, length in self._parts(offset, len(data)):
            shard.read_into(data[:length], inside)
            data = data[length:]

    def map(self) -> NDArray[np.uint8]:
        """Return all bytes, mapped; copied where they lie in two shards. See `RowBytes`."""
        parts = list(self._parts(0, self.num_bytes))
        if len(parts) == 1:
            shard, inside, length = parts[0]
            return shard.span(inside, length)
        copy = np.empty(self.num_bytes, np.uint8)
        self.read_into(copy.data, 0)
        copy.flags.writeable = False
        return copy

    def _parts(self, offset: int, num_bytes: int) -> Iterator[tuple[ShardBytes, int, int]]:
        return self._shards.parts(self._first_byte + offset, num_bytes)
