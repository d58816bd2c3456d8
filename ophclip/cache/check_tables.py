# SPDX-License-Identifier: Apache-2.0
"""Check what holds a packed cache together: the end of every shard, and every table that other readers use.

All of it follows from the videos, so that it is made anew and compared byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ophclip.cache.check_video import VideoCheck
from ophclip.cache.findings import Finding
from ophclip.cache.layout import JOURNAL, METADATA, group_metadata
from ophclip.cache.location import Location, ObjectPath, size_of
from ophclip.cache.pack import PLAN
from ophclip.cache.packtables import (
    TABLE,
    flat_arrays,
    journal_line,
    plan_head,
    root_metadata,
    texts_metadata,
    to_json,
)

if TYPE_CHECKING:
    from ophclip.cache.packed import PackedCache
    from ophclip.cache.sharded import Grid

CHECKSUM_BYTES = 4


def check_shards(cache: PackedCache) -> Iterator[Finding]:
    """Yield what is wrong behind the rows of each shard: the filling, the index and its checksum.

    Our own readers need none of these; Zarr finds inner chunks by them.
    """
    for name, grid in cache.grids.items():
        for shard in range(grid.num_shards):
            path = cache.path / name / grid.shard_name(shard)
            wrong = _wrong_end(path, grid, shard)
            if wrong:
                yield _finding(cache, path, wrong)


def check_tables(cache: PackedCache, checks: Sequence[VideoCheck]) -> Iterator[Finding]:
    """Yield which files other than shards are not what was packed; `checks` are of all videos, all whole."""
    for name, data in _expected(cache, checks):
        path = cache.path / name
        try:
            is_same = path.read_bytes() == data
        except OSError:
            is_same = False
        if not is_same:
            yield _finding(cache, path, "not what was packed")


def _wrong_end(path: Location, grid: Grid, shard: int) -> str:
    padding, index = grid.padding(shard), grid.index(shard)
    try:
        end = _read(path, grid.rows_in(shard) * grid.row_bytes, len(padding) + len(index) + 1)
    except OSError as error:
        return error.strerror or str(error)
    found_padding, found = end[: len(padding)], end[len(padding) :]
    if len(found) != len(index):
        return f"must have {grid.file_bytes(shard):,} bytes"
    if found_padding != padding:
        return "its last inner chunk must be filled up with zeros"
    if found[:-CHECKSUM_BYTES] != index[:-CHECKSUM_BYTES]:
        return "the offsets and lengths of its inner chunks are not what was packed"
    return "" if found == index else "the checksum of its index is wrong"


def _read(path: Location, offset: int, most: int) -> bytes:
    """Return at most so many bytes of a file or object, from `offset` on."""
    if isinstance(path, ObjectPath):
        length = min(most, size_of(path) - offset)
        return bytes(path.bucket.get_ranges(path.key, [offset], [length])[0]) if length > 0 else b""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(most)


def _expected(cache: PackedCache, checks: Sequence[VideoCheck]) -> Iterator[tuple[str, bytes]]:
    texts = [check.text for check in checks]
    hashes = [bytes.fromhex(check.declared_sha256) for check in checks]
    ends = [0, *accumulate(map(len, texts))]
    metadata: dict[str, dict[str, Any]] = {name: grid.metadata() for name, grid in cache.grids.items()}
    for name, (its_metadata, data) in flat_arrays(cache, cache.ids, ends, hashes).items():
        metadata[name] = its_metadata
        if data:
            yield f"{name}/c/0" + "/0" * (len(its_metadata["shape"]) - 1), data
    metadata["attributes"] = texts_metadata(ends[-1])
    if texts:
        yield "attributes/c/0", b"".join(texts)
    for name, document in metadata.items():
        yield f"{name}/{METADATA}", to_json(document)
    lines = [journal_line(cache, video_id, number) for number, video_id in enumerate(cache.ids)]
    digest = hashlib.sha256(plan_head(cache.provenance, cache.grids["rows"]))
    for line, text in zip(lines, texts, strict=True):
        digest.update(line + text)
    yield f"{JOURNAL}/{TABLE}", b"".join(lines)
    yield f"{JOURNAL}/{PLAN}", digest.hexdigest().encode()
    yield f"{JOURNAL}/{METADATA}", group_metadata({})
    yield METADATA, root_metadata(cache, cache.grids["rows"])


def _finding(cache: PackedCache, path: Location, what: str) -> Finding:
    return Finding(str(path).removeprefix(f"{cache.path}/"), "root", f"{path}: {what}")
