# SPDX-License-Identifier: Apache-2.0
"""A packed cache: all rows in one sharded array, for object stores and network file systems; only read.

P.zarr/zarr.json            attributes: packed_version, provenance, num_videos, num_rows, and the
                            rows of a shard and of an inner chunk: shard_rows, chunk_rows
P.zarr/rows                 [N, *row_shape], the rows of all videos one after another, sorted by id
P.zarr/pts, times           int64 and float64 [N]: of each row, in ticks and in seconds
P.zarr/offsets              int64 [V + 1]: where the rows of each video begin
P.zarr/ids, hashes          string [V]; uint8 [V, 32], the SHA-256 of the rows
P.zarr/attributes           uint8 JSON texts: what else is known of each video
P.zarr/attribute_offsets    int64 [V + 1]: where the text of each video begins
P.zarr/_journal/commits-packed.jsonl    the same lines as in a cache that is not packed
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip.cache.journal import Commit
from ophclip.cache.layout import METADATA, read_metadata
from ophclip.cache.location import Location
from ophclip.cache.rowfile import RowBytes, RowFile, RowFileError, remember
from ophclip.cache.sharded import Grid, Shards
from ophclip.cache.store import MAX_OPEN, FeatureCache
from ophclip.errors import DamageError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKED_VERSION = 1
ROOT_KEYS = ("num_videos", "num_rows", "shard_rows", "chunk_rows")


def is_packed(path: Location) -> bool:
    """Return whether `path` is a packed cache."""
    return (path / METADATA).is_file() and "packed_version" in read_metadata(path)["attributes"]


def rows_grid(num_rows: int, provenance: dict[str, Any], shard_rows: int, chunk_rows: int) -> Grid:
    """Return the grid of the array of all rows."""
    return Grid((num_rows, *provenance["row_shape"]), provenance["dtype"], shard_rows, chunk_rows)


class PackedCache(FeatureCache):
    """The videos of a packed cache, by id: as `FeatureCache`, from which it was packed.

    Rows are mapped; those of a video that lies in two shards are copied when they are indexed.
    """

    MENDING = "pack it again from the cache that it was packed from"

    def refresh(self) -> None:
        """Do nothing: a packed cache never changes."""
        if not self._commits:
            super().refresh()
            counts = [0, *(commit.shape[0] for commit in self._commits.values())]
            self._offsets: NDArray[np.int64] = np.cumsum(counts, dtype=np.int64)
            self._numbers = {video_id: number for number, video_id in enumerate(self._commits)}
            found = (len(self), int(self._offsets[-1]))
            if found != (self._root["num_videos"], self._root["num_rows"]):
                raise DamageError(
                    f"{self.path}: {self._root['num_videos']} videos of {self._root['num_rows']} rows were "
                    f"packed, its journal has {found[0]} of {found[1]}",
                    remedy=self.MENDING,
                )

    def times(self, video_id: str) -> NDArray[np.float64]:
        """Return the true presentation time of each row in seconds, `[T]`, read-only."""
        times = self._times.get(video_id)
        if times is None:
            times = self._of_rows("times", video_id, np.float64)
        return remember(self._times, video_id, times, MAX_OPEN)

    def attributes(self, video_id: str) -> dict[str, Any]:
        """Return what is stored beside the rows of a video (`layout.VideoAttributes`)."""
        first, end = self._attribute_offsets[self._number(video_id) :][:2].tolist()
        try:
            texts = self._attribute_texts  # before the memory for one: its size holds the offsets to bounds
            text = bytearray(end - first)
            texts.read_into(memoryview(text), first)
            attributes = dict(json.loads(text))
        except (RowFileError, ValueError) as error:
            raise self._damage(f"the attributes of video {video_id!r}: {error}") from error
        if attributes.get("video_id") != video_id:
            raise self._damage(f"must hold video {video_id!r}, got {attributes.get('video_id')!r}")
        pts = self._of_rows("pts", video_id, np.int64).tolist()
        return {**attributes, "pts": pts, "frame_times_s": self.times(video_id).tolist()}

    def _read_root(self) -> dict[str, Any]:
        attributes = read_metadata(self.path)["attributes"]
        version = attributes["packed_version"]
        if version != PACKED_VERSION:
            raise UsageError(
                f"{self.path}: the packed format must be {PACKED_VERSION}, got {version}",
                remedy="upgrade ophclip",
            )
        self._root = {key: attributes.get(key) for key in ROOT_KEYS}
        if not all(type(number) is int and number >= 0 for number in self._root.values()):
            raise self._damage("its zarr.json is not what was packed")
        return dict(attributes["provenance"])

    @property
    def grids(self) -> dict[str, Grid]:
        """The arrays that are sharded, by their names."""
        num_rows = self._root["num_rows"]
        rows = rows_grid(num_rows, self.provenance, self._root["shard_rows"], self._root["chunk_rows"])
        return {"rows": rows, "times": Grid((num_rows,), "float64"), "pts": Grid((num_rows,), "int64")}

    @cached_property
    def _arrays(self) -> dict[str, Shards]:
        for name, grid in self.grids.items():
            if read_metadata(self.path / name) != grid.metadata():
                raise self._damage(f"the metadata of {name!r} is not what was packed")
        return {name: self._shards(name, grid) for name, grid in self.grids.items()}

    @cached_property
    def _attribute_offsets(self) -> NDArray[np.int64]:
        count = self._root["num_videos"] + 1
        try:
            chunk = self._table("attribute_offsets", 8 * count).map()
        except RowFileError as error:
            raise self._damage(str(error)) from error
        offsets: NDArray[np.int64] = np.array(chunk).view("<i8")
        if offsets[0] != 0 or bool((np.diff(offsets) <= 0).any()):
            raise self._damage("the offsets of the attributes do not ascend")
        return offsets

    @cached_property
    def _attribute_texts(self) -> RowBytes:
        return self._table("attributes", int(self._attribute_offsets[-1]))

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_attribute_texts", None)
        return state

    def _shards(self, name: str, grid: Grid) -> Shards:
        return Shards(self.path / name, grid)

    def _table(self, name: str, num_bytes: int) -> RowBytes:
        return RowFile(str(self.path.joinpath(name, "c", "0")), num_bytes)

    def _number(self, video_id: str) -> int:
        self._commit(video_id)
        return self._numbers[video_id]

    def _open(self, commit: Commit) -> RowBytes:
        return self._rows_of("rows", commit.video_id)

    def _rows_of(self, array: str, video_id: str) -> RowBytes:
        first, end = self._offsets[self._number(video_id) :][:2].tolist()
        return self._arrays[array].rows(first, end - first)

    def _of_rows(self, array: str, video_id: str, dtype: type[Any]) -> NDArray[Any]:
        values = np.empty(self.num_frames(video_id), np.dtype(dtype).newbyteorder("<"))
        try:
            self._rows_of(array, video_id).read_into(values.view(np.uint8).data, 0)
        except RowFileError as error:
            raise self._unreadable(video_id, error) from error
        values.flags.writeable = False
        return values

    def _damage(self, what: str) -> DamageError:
        return DamageError(f"{self.path}: {what}", remedy=self.MENDING)
