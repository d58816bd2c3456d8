# SPDX-License-Identifier: Apache-2.0
"""Read a packed cache in an object store: tables once, then ranges of the shards."""

from __future__ import annotations

from ophclip.cache.location import ObjectPath
from ophclip.cache.packed import PackedCache
from ophclip.cache.remote import RemoteCache
from ophclip.cache.remote_rows import RemoteRows, RemoteShards
from ophclip.cache.sharded import Grid


class RemotePackedCache(PackedCache, RemoteCache):
    """The videos of a packed cache in an object store, by id: as `PackedCache`, but nothing is mapped."""

    path: ObjectPath

    def _shards(self, name: str, grid: Grid) -> RemoteShards:
        return RemoteShards(self.path / name, grid)

    def _table(self, name: str, num_bytes: int) -> RemoteRows:
        return RemoteRows(self.path.joinpath(name, "c", "0"), num_bytes)
