# SPDX-License-Identifier: Apache-2.0
"""Export a cache for other programs: a file a video as npy or safetensors, or tar shards for webdataset."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ophclip import console
from ophclip.cache.exclusive import alone_in, disk_errors
from ophclip.cache.exportfiles import (
    is_current_npy,
    is_current_safetensors,
    write_npy,
    write_safetensors,
    write_tar,
)
from ophclip.cache.store import FeatureCache
from ophclip.errors import UsageError
from ophclip.files import replace_file

ExportFormat = Literal["npy", "safetensors", "webdataset"]

SHARD_MIB = 1024
MARK, LOCK = "export.json", ".lock"  # what makes a folder an export, and which process writes it
WRITERS = {"npy": (write_npy, is_current_npy), "safetensors": (write_safetensors, is_current_safetensors)}


@dataclass
class ExportReport:
    """What was exported; `num_skipped` videos were there already."""

    out: str
    format: ExportFormat
    num_written: int = 0
    num_skipped: int = 0
    num_bytes: int = 0
    num_shards: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


def export_cache(
    cache: FeatureCache,
    out: Path,
    format: ExportFormat,
    *,
    ids: Sequence[str] | None = None,
    shard_mib: int = SHARD_MIB,
) -> ExportReport:
    """Write the videos `ids`, or all, into the folder `out`; what is there and current is skipped.

    Every file appears whole, and each video's rows are checked as they are copied. A tar shard holds at most
    `shard_mib` of rows, or one video that is larger.

    Raises:
        UsageError: a video is not in the cache, or `out` is something else.
        DamageError: the rows of a video are not those that were committed.
        StorageError: `out` cannot be written; the next run goes on from there.
    """
    start = time.perf_counter()
    chosen = sorted({cache.entry(video_id).video_id for video_id in (cache.ids if ids is None else ids)})
    report = ExportReport(str(out), format)
    with disk_errors(out):
        _check_folder(cache, out, format)
        with alone_in(out, LOCK, f"exporting into {out}"):
            _begin(cache, out, format)
            with console.progress("export", len(chosen), "videos") as progress:
                if format == "webdataset":
                    _export_shards(cache, chosen, out, shard_mib << 20, report, progress)
                else:
                    _export_videos(cache, chosen, out, report, progress)
    report.seconds = time.perf_counter() - start
    return report


def _check_folder(cache: FeatureCache, out: Path, format: ExportFormat) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", remedy="name a folder")
    mark = out / MARK
    if mark.exists():
        if mark.read_bytes() != _mark(cache, format):
            raise UsageError(
                f"{out} holds an export of another format or of other features", remedy="name another --out"
            )
    elif out.exists() and any(not _is_unfinished(entry) for entry in out.iterdir()):
        raise UsageError(f"{out} exists and is not an export", remedy="name a new or an empty folder")


def _begin(cache: FeatureCache, out: Path, format: ExportFormat) -> None:
    for entry in out.iterdir():
        if _is_unfinished(entry) and entry.name != LOCK:
            entry.unlink()  # of a process that died; one that lives would hold the lock
    if not (out / MARK).exists():
        replace_file(out / MARK, _mark(cache, format))


def _is_unfinished(entry: Path) -> bool:
    return entry.name.startswith(".") and entry.is_file()  # no video's file does: see `folder_name`


def _mark(cache: FeatureCache, format: ExportFormat) -> bytes:
    document = {"format": format, "provenance": cache.provenance}
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _export_videos(
    cache: FeatureCache, ids: Sequence[str], out: Path, report: ExportReport, progress: console.Progress
) -> None:
    write, is_current = WRITERS[report.format]
    for video_id in ids:
        if is_current(cache, video_id, out):
            report.num_skipped += 1
        else:
            write(cache, video_id, out)
            _count(cache, [video_id], report)
        progress.advance()


def _export_shards(
    cache: FeatureCache,
    ids: Sequence[str],
    out: Path,
    shard_bytes: int,
    report: ExportReport,
    progress: console.Progress,
) -> None:
    for number, members in enumerate(_divided(cache, ids, shard_bytes)):
        path = out / f"shard-{number:06d}.tar"
        contents = path.with_suffix(".json")
        wanted = _contents(cache, members)
        if path.exists() and contents.exists() and contents.read_bytes() == wanted:
            report.num_skipped += len(members)
        else:
            contents.unlink(missing_ok=True)
            write_tar(cache, members, path)
            replace_file(contents, wanted)  # says that the shard is complete
            _count(cache, members, report)
        report.num_shards += 1
        progress.advance(len(members))
    _remove_shards_from(report.num_shards, out)


def _divided(cache: FeatureCache, ids: Sequence[str], shard_bytes: int) -> Iterator[list[str]]:
    """Yield the videos of each shard: in order, as many as fit."""
    members: list[str] = []
    size = 0
    for video_id in ids:
        own = cache.num_frames(video_id) * cache.row_bytes
        if members and size + own > shard_bytes:
            yield members
            members, size = [], 0
        members.append(video_id)
        size += own
    if members:
        yield members


def _contents(cache: FeatureCache, ids: Sequence[str]) -> bytes:
    """Return the list of a shard's videos, each with a hash of all that is exported of it."""
    hashes = {}
    for video_id in ids:
        text = json.dumps(cache.attributes(video_id), sort_keys=True)
        hashes[video_id] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(hashes, indent=1).encode() + b"\n"


def _remove_shards_from(number: int, out: Path) -> None:
    """Remove what a larger export left: its shards would give videos twice."""
    for path in out.glob("shard-*.tar"):
        if path.stem[6:].isdecimal() and int(path.stem[6:]) >= number:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink()


def _count(cache: FeatureCache, ids: Sequence[str], report: ExportReport) -> None:
    report.num_written += len(ids)
    report.num_bytes += sum(cache.num_frames(video_id) * cache.row_bytes for video_id in ids)
