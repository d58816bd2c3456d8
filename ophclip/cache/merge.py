# SPDX-License-Identifier: Apache-2.0
"""Join caches of the same provenance: what is in one of them is afterwards in the target, and only once.

Videos are copied by the commit of any build, each checked against its checksum. So a merge that was cut off
goes on when it is run again, and readers of the target see whole videos only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from ophclip import console
from ophclip.cache.content import video_digest
from ophclip.cache.journal import last_failures, read_failures
from ophclip.cache.layout import VideoAttributes
from ophclip.cache.location import Location, ObjectPath
from ophclip.cache.objects import at_once
from ophclip.cache.pack import checked_blocks
from ophclip.cache.root import check_provenance
from ophclip.cache.store import FeatureCache, open_cache
from ophclip.cache.writer import Writer, open_writer
from ophclip.errors import UsageError

MAX_NAMED = 10  # of conflicting ids


@dataclass
class MergeReport:
    """What a merge did: `num_skipped` videos were in the target already, or twice in the sources."""

    out: str
    num_copied: int = 0
    num_skipped: int = 0
    num_failures: int = 0  # that were recorded in a source, and now are in the target
    num_bytes: int = 0
    seconds: float = 0.0

    def add(self, num_bytes: int | None) -> None:
        """Count a video, of which so much was copied; None where it was there."""
        if num_bytes is None:
            self.num_skipped += 1
        else:
            self.num_copied += 1
            self.num_bytes += num_bytes

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


def merge_caches(sources: Sequence[Location], out: Location) -> MergeReport:
    """Copy all videos of `sources`, packed or not, here or in an object store, into the cache `out`.

    `out` is made if it is not there, and may be one of `sources`. Failures are carried along, unless their
    video is stored. Interrupted, the same call goes on.

    Raises:
        UsageError: the caches were not built in the same way, two hold different rows under one id, or `out`
            is something else. Nothing has been copied then.
        DamageError: the rows of a video are not those that were committed.
        StorageError: `out` cannot be written.
    """
    start = time.perf_counter()
    caches = [open_cache(source) for source in sources]
    if not caches:
        raise UsageError("there is nothing to merge", remedy="name the caches")
    for cache in caches[1:]:
        _check_alike(caches[0], cache)
    report = MergeReport(str(out))
    with open_writer(out, caches[0].provenance) as writer:
        target = open_cache(out)
        caches = [cache for cache in caches if not _is_same(cache.path, out)]
        _check_conflicts([target, *caches])
        num_videos = sum(map(len, caches))
        with console.progress("merge", num_videos, "videos") as progress:
            for cache in caches:
                # An object store takes its time to answer, and many requests meanwhile.
                each = at_once if isinstance(out, ObjectPath) else map
                for num_bytes in each(partial(_copy, cache, writer), cache.ids):
                    report.add(num_bytes)
                    progress.advance()
        for cache in caches:
            _carry_failures(cache, writer, report)
    report.seconds = time.perf_counter() - start
    return report


def _check_alike(first: FeatureCache, other: FeatureCache) -> None:
    try:
        check_provenance(other.path, other.provenance, first.provenance)
    except UsageError as error:
        what = error.message.replace("this run has", f"{first.path} with")
        raise UsageError(what, remedy="merge like with like: rows of one kind") from error


def _is_same(path: Location, other: Location) -> bool:
    if isinstance(path, Path) and isinstance(other, Path):
        return path.resolve() == other.resolve()
    return path == other


def _check_conflicts(caches: Sequence[FeatureCache]) -> None:
    """Check that a video which several caches hold has the same rows and times in all of them."""
    holders: dict[str, FeatureCache] = {}
    conflicts = []
    for cache in caches:
        for video_id in cache.ids:
            holder = holders.setdefault(video_id, cache)
            if holder is not cache and _digest(holder, video_id) != _digest(cache, video_id):
                conflicts.append(f"{video_id!r} ({holder.path}, {cache.path})")
    if conflicts:
        named = ", ".join(conflicts[:MAX_NAMED]) + (", ..." if len(conflicts) > MAX_NAMED else "")
        raise UsageError(
            f"{len(conflicts)} ids have different rows in two caches: {named}",
            remedy="build these videos under ids of their own, or merge without one of the caches",
        )


def _digest(cache: FeatureCache, video_id: str) -> bytes:
    return video_digest(video_id, cache.attributes(video_id)["data_sha256"], cache.times(video_id))


def _copy(cache: FeatureCache, writer: Writer, video_id: str) -> int | None:
    if writer.is_stored(video_id):
        return None
    attributes = cache.attributes(video_id)
    writer.store(
        video_id,
        checked_blocks(cache, video_id, attributes["data_sha256"]),
        cast(VideoAttributes, attributes),
        source_path=cache.entry(video_id).source_path,
        source_mtime_ns=cache.source_mtime_ns(video_id),
    )
    return cache.num_frames(video_id) * cache.row_bytes


def _carry_failures(cache: FeatureCache, writer: Writer, report: MergeReport) -> None:
    entries, known = last_failures(cache.path), last_failures(writer.path)
    for video_id in read_failures(cache.path):
        entry = _facts(entries[video_id])
        if video_id not in writer.commits and entry != _facts(known.get(video_id, {})):
            writer.fail(**entry)
            report.num_failures += 1


def _facts(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("time_ns", "crc32")}
