# SPDX-License-Identifier: Apache-2.0
"""Build a cache: probe, plan, decode, encode and commit each video; what is stored already is skipped."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ophclip import console
from ophclip._version import __version__
from ophclip.cache.commit import CacheWriter, StorageError
from ophclip.cache.encoder import Encoder
from ophclip.cache.inputs import CacheInput
from ophclip.cache.layout import VideoAttributes
from ophclip.errors import OphclipError
from ophclip.video import Decoder, FrameSource, SamplingPlan, VideoInfo, open_source, plan_sampling, probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

HASH_BLOCK = 1 << 20


@dataclass
class BuildReport:
    """What a build did with each video; `failed` holds the reasons."""

    committed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    num_frames: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        rate = self.num_frames / self.seconds if self.seconds else 0.0
        return {**vars(self), "seconds": round(self.seconds, 3), "frames_per_s": round(rate, 1)}


def build_cache(
    inputs: Sequence[CacheInput],
    out: Path,
    *,
    encoder: Encoder,
    fps: float | Fraction,
    decoder: Decoder = "auto",
    device: str = "cpu",
) -> BuildReport:
    """Store one row a sampled frame of every input; videos that are already stored are skipped.

    A video that cannot be read is recorded with its reason and the build goes on.

    Raises:
        UsageError: `out` holds rows of another encoder, rate, geometry or decoder.
        StorageError: `out` cannot be written; nothing is half-stored.
    """
    start = time.perf_counter()
    source = open_source(decoder, geometry=encoder.geometry, device=device)
    report = BuildReport()
    with (
        CacheWriter(out, provenance_of(encoder, fps, source)) as writer,
        console.progress("cache", len(inputs), "videos") as progress,
    ):
        for item in inputs:
            _build_one(item, writer, encoder, fps, source, report)
            report.seconds = time.perf_counter() - start
            failed = f", {len(report.failed)} failed" if report.failed else ""
            progress.note(f"{report.num_frames / report.seconds:,.0f} frames/s{failed}")
            progress.advance()
    return report


def provenance_of(encoder: Encoder, fps: float | Fraction, source: FrameSource) -> dict[str, Any]:
    """Return what a cache is keyed by; `versions` are recorded, but may differ."""
    return {
        "encoder": encoder.name,
        "key": dict(encoder.key),
        "row_shape": list(encoder.row_shape),
        "dtype": encoder.dtype,
        "geometry": str(encoder.geometry),
        "fps": float(fps),
        "decoder": source.name,
        "versions": {"ophclip": __version__, "decoder": source.version},
    }


def _build_one(
    item: CacheInput,
    writer: CacheWriter,
    encoder: Encoder,
    fps: float | Fraction,
    source: FrameSource,
    report: BuildReport,
) -> None:
    try:
        if _is_current(item, writer):
            report.skipped.append(item.video_id)
            return
        info = probe(item.path)
        plan = plan_sampling(info, fps)
        stat = item.path.stat()
        count = writer.store(
            item.video_id,
            _encoded(source, info, plan, encoder),
            _attributes(item, info, plan, source, stat.st_size),
            source_path=str(item.path.resolve()),
            source_mtime_ns=stat.st_mtime_ns,
        )
    except StorageError:
        raise
    except (OphclipError, OSError) as error:
        reason = error.message if isinstance(error, OphclipError) else str(error)
        writer.fail(item.video_id, reason)
        report.failed[item.video_id] = reason
        return
    report.committed.append(item.video_id)
    report.num_frames += count


def _is_current(item: CacheInput, writer: CacheWriter) -> bool:
    commit = writer.commits.get(item.video_id)
    if commit is None or not writer.is_stored(item.video_id):
        return False
    stat = item.path.stat()
    if stat.st_size != commit.source_size:
        return False
    return stat.st_mtime_ns == commit.source_mtime_ns or _sha256(item.path) == commit.source_sha256


def _encoded(
    source: FrameSource, info: VideoInfo, plan: SamplingPlan, encoder: Encoder
) -> Iterator[NDArray[Any]]:
    for frames in source.read(info, plan):
        yield encoder(frames)


def _attributes(
    item: CacheInput, info: VideoInfo, plan: SamplingPlan, source: FrameSource, size: int
) -> VideoAttributes:
    return {
        "video_id": item.video_id,
        "source_name": item.path.name,
        "source_size": size,
        "source_sha256": _sha256(item.path),
        "data_sha256": "",  # known once the rows are written
        "decoder": source.name,
        "time_base": str(info.time_base),
        "start": str(info.start),
        "pts": plan.pts.tolist(),
        "frame_times_s": plan.frame_times_s.tolist(),
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
