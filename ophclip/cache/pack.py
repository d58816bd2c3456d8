# SPDX-License-Identifier: Apache-2.0
"""Pack a cache: merge the rows of all videos into few large files, each video checked as it is copied.

The packed cache is built in a hidden folder beside its place, `.<name>.packing`, and renamed when it is
complete. A run that was cut off leaves its finished shards there, and the next one goes on after them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ophclip import console
from ophclip.cache.crash import crash_point
from ophclip.cache.exclusive import alone_in, disk_errors
from ophclip.cache.journal import LOCK
from ophclip.cache.layout import JOURNAL
from ophclip.cache.packed import is_packed, rows_grid
from ophclip.cache.packtables import write_root, write_tables
from ophclip.cache.sharded import Grid, rows_at_a_time
from ophclip.cache.shardwriter import ShardWriter
from ophclip.cache.store import FeatureCache, open_cache
from ophclip.errors import DamageError, StorageError, UsageError
from ophclip.files import fsync_folder, replace_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK_BYTES = 8 << 20
PLAN = "plan.sha256"  # of what is packed: shards of an interrupted run count only where it is the same


@dataclass
class PackReport:
    """What was packed: `num_resumed` videos by an earlier run, and all of it where it `was_there`."""

    out: str
    num_videos: int
    num_rows: int
    num_bytes: int
    num_shards: int
    num_resumed: int = 0
    was_there: bool = False
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


def pack_cache(cache: FeatureCache, out: Path) -> PackReport:
    """Pack `cache` into a new one at `out`, which `open_cache` and any Zarr reader open.

    The same videos give the same bytes. Done a second time, it does nothing.

    Raises:
        UsageError: `out` is something else, or another process is packing into it.
        DamageError: the rows of a video are not those that were committed; nothing appears at `out`.
        StorageError: `out` cannot be written; the next run goes on from there.
    """
    start = time.perf_counter()
    grid = _grid(cache)
    report = PackReport(str(out), len(cache), grid.shape[0], grid.shape[0] * grid.row_bytes, grid.num_shards)
    if isinstance(cache.path, Path) and out.absolute().is_relative_to(cache.path.absolute()):
        raise UsageError(f"{out} lies in {cache.path}", remedy="name an --out outside the cache")
    work = out.with_name(f".{out.name}.packing")
    with disk_errors(out), alone_in(work, f"{JOURNAL}/{LOCK}", f"packing into {out}"):
        if out.exists():
            shutil.rmtree(work)
            _check_same(cache, out)
            report.was_there = True
        else:
            report.num_resumed = _pack(cache, work, grid)
            _publish(work, out)
    report.seconds = time.perf_counter() - start
    return report


def _grid(cache: FeatureCache) -> Grid:
    num_rows = sum(cache.num_frames(video_id) for video_id in cache)
    return rows_grid(num_rows, cache.provenance, *rows_at_a_time(cache.row_bytes))


def _check_same(cache: FeatureCache, out: Path) -> None:
    """Accept what is at `out` if it is the very same videos, packed before."""
    if is_packed(out):
        packed = open_cache(out)
        same = packed.ids == cache.ids and packed.provenance == cache.provenance
        if same and all(packed.entry(video_id) == cache.entry(video_id) for video_id in cache):
            return
    raise UsageError(f"{out} exists and is not this cache, packed", remedy="remove it, or name another --out")


def _pack(cache: FeatureCache, work: Path, grid: Grid) -> int:
    plan, hashes = write_tables(cache, work, grid)
    crash_point("pack-after-tables")
    _keep_shards_of(plan, work)
    _check_space(work, grid)
    num_resumed = 0
    with ShardWriter(work / "rows", grid) as writer:
        for video_id, sha256 in _with_progress(cache, hashes):
            if writer.has(cache.num_frames(video_id)):
                writer.skip(cache.num_frames(video_id))
                num_resumed += 1
            else:
                _copy(cache, video_id, sha256, writer)
                writer.publish()
    write_root(cache, work, grid)
    return num_resumed


def _keep_shards_of(plan: str, work: Path) -> None:
    """Remove the shards of an earlier run unless it was packing the same."""
    stored = work / JOURNAL / PLAN
    if not stored.exists() or stored.read_text() != plan:
        shutil.rmtree(work / "rows", ignore_errors=True)
        replace_file(stored, plan.encode())


def _check_space(work: Path, grid: Grid) -> None:
    rows = work / "rows"
    shards = (shard for shard in range(grid.num_shards) if not (rows / grid.shard_name(shard)).exists())
    needed, free = sum(map(grid.file_bytes, shards)), shutil.disk_usage(work).free
    if needed > free:
        raise StorageError(
            f"{work.parent}: {needed / 1e9:.3g} GB are needed, {free / 1e9:.3g} GB are free",
            remedy="free space, then run the same command again: it goes on",
        )


def _with_progress(cache: FeatureCache, hashes: list[bytes]) -> Iterator[tuple[str, bytes]]:
    with console.progress("pack", len(cache), "videos") as progress:
        for video_id, sha256 in zip(cache.ids, hashes, strict=True):
            yield video_id, sha256
            progress.advance()


def _copy(cache: FeatureCache, video_id: str, sha256: bytes, writer: ShardWriter) -> None:
    for rows in checked_blocks(cache, video_id, sha256.hex()):
        writer.write(rows.reshape(-1).view("u1").data)


def blocks(cache: FeatureCache, video_id: str) -> Iterator[NDArray[np.generic]]:
    """Yield the rows of a video in order, some MiB at a time, read rather than mapped."""
    num_rows, step = cache.num_frames(video_id), max(1, BLOCK_BYTES // cache.row_bytes)
    for start in range(0, num_rows, step):
        yield cache.gather([video_id], [start], min(step, num_rows - start))[0]


def checked_blocks(cache: FeatureCache, video_id: str, sha256: str) -> Iterator[NDArray[np.generic]]:
    """Yield the rows of a video as `blocks` does, and raise at their end if they are not those committed.

    Raises:
        DamageError: they do not have that SHA-256.
    """
    checksum = hashlib.sha256()
    for rows in blocks(cache, video_id):
        checksum.update(rows.reshape(-1).view("u1").data)
        yield rows
    if checksum.hexdigest() != sha256:
        raise DamageError(
            f"video {video_id!r}: the rows are not those that were committed", remedy=cache.MENDING
        )


def _publish(work: Path, out: Path) -> None:
    for folder, _, names in os.walk(work):
        for name in names:
            _fsync_file(Path(folder, name))
        fsync_folder(Path(folder))
    crash_point("pack-before-rename")
    work.rename(out)
    crash_point("pack-after-rename")
    fsync_folder(out.absolute().parent)


def _fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
