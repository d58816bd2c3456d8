# SPDX-License-Identifier: Apache-2.0
"""Build a cache: probe, plan, decode, encode and commit each video; what is stored already is skipped."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ophclip import console
from ophclip._version import __version__
from ophclip.cache.commit import CacheWriter, StorageError
from ophclip.cache.encoder import Encoder
from ophclip.cache.inputs import CacheInput, as_text
from ophclip.cache.layout import VideoAttributes
from ophclip.errors import OphclipError, UsageError
from ophclip.video import (
    BATCH_SIZE,
    Decoder,
    FrameSource,
    SamplingPlan,
    VideoInfo,
    check_fps,
    open_source,
    plan_sampling,
    probe,
)
from ophclip.video.decode import DaliElsePyav, DaliRefusedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Item = TypeVar("Item")

HASH_BLOCK = 1 << 20


@dataclass
class BuildReport:
    """What a build did with each video; `failed` holds the reasons, `decoder` what decoded them."""

    committed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    num_frames: int = 0
    seconds: float = 0.0
    decoder: str = ""

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
    batch_size: int = BATCH_SIZE,
) -> BuildReport:
    """Store one row a sampled frame of every input; videos that are already stored are skipped.

    Frames go to the encoder in batches of at most `batch_size`. A video whose file has changed since is
    stored anew. A video that cannot be read is recorded with its reason and the build goes on.

    Raises:
        UsageError: `out` holds rows of another encoder, rate, geometry or decoder.
        StorageError: `out` cannot be written; nothing is half-stored.
    """
    source = open_source(decoder, geometry=encoder.geometry, device=device, batch_size=batch_size)
    report = BuildReport(decoder=source.name)
    provenance = provenance_of(
        encoder, fps=float(check_fps(fps)), decoder=source.name, decoder_version=source.version
    )
    _check_ids(inputs)
    with CacheWriter(out, provenance) as writer:
        for item in each_with_progress(inputs, report):
            with failures_recorded(item.video_id, writer, report):
                if _is_current(item, writer):
                    report.skipped.append(item.video_id)
                else:
                    report.num_frames += _build_either_way(item, writer, encoder, fps, source)
                    report.committed.append(item.video_id)
    return report


def each_with_progress(items: Sequence[Item], report: BuildReport) -> Iterator[Item]:
    """Yield the items, showing how many are done, the frames a second and the time left."""
    start = time.perf_counter()
    with console.progress("cache", len(items), "videos") as progress:
        for item in items:
            yield item
            report.seconds = time.perf_counter() - start
            failed = f", {len(report.failed)} failed" if report.failed else ""
            progress.note(f"{report.num_frames / report.seconds:,.0f} frames/s{failed}")
            progress.advance()


@contextmanager
def failures_recorded(video_id: str, writer: CacheWriter, report: BuildReport) -> Iterator[None]:
    """Record the failure of one video and go on; what would fail for every video passes through."""
    try:
        yield
    except (StorageError, UsageError):
        raise
    except (OphclipError, OSError) as error:
        reason = _reason(error)
        writer.fail(video_id, reason)
        report.failed[video_id] = reason


def _reason(error: OphclipError | OSError) -> str:
    if isinstance(error, OphclipError):
        return as_text(error.message)  # with the path, which may be no text
    return as_text(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def provenance_of(encoder: Encoder, *, fps: float, decoder: str, decoder_version: str) -> dict[str, Any]:
    """Return what a cache is keyed by; `versions` are recorded, but may differ."""
    return {
        "encoder": encoder.name,
        "key": dict(encoder.key),
        "row_shape": list(encoder.row_shape),
        "dtype": encoder.dtype,
        "geometry": str(encoder.geometry),
        "fps": fps,
        "decoder": decoder,
        "versions": {"ophclip": __version__, "decoder": decoder_version},
    }


def _check_ids(inputs: Sequence[CacheInput]) -> None:
    uses = Counter(item.video_id for item in inputs)
    shared = next((video_id for video_id, count in uses.items() if count > 1), None)
    if shared is not None:
        raise UsageError(f"video id {shared!r} names {uses[shared]} inputs", remedy="give each its own id")


def _build_either_way(
    item: CacheInput, writer: CacheWriter, encoder: Encoder, fps: float | Fraction, source: FrameSource
) -> int:
    try:
        return _build_one(item, writer, encoder, fps, source)
    except DaliRefusedError:
        if not isinstance(source, DaliElsePyav):
            raise
        return _build_one(item, writer, encoder, fps, source)  # nothing was committed; PyAV's turn


def _build_one(
    item: CacheInput, writer: CacheWriter, encoder: Encoder, fps: float | Fraction, source: FrameSource
) -> int:
    stat = item.path.stat()
    with _media_errors(item.path):
        info = probe(item.path)
        plan = plan_sampling(info, fps)
    batches = _decoded(source, info, plan)
    first = next(batches)  # says which decoder it is, which is stored beside the rows
    return writer.store(
        item.video_id,
        (encoder(frames) for frames in chain((first,), batches)),
        _attributes(item, info, plan, source, stat.st_size),
        source_path=str(item.path.absolute()),
        source_mtime_ns=stat.st_mtime_ns,
    )


def _is_current(item: CacheInput, writer: CacheWriter) -> bool:
    commit = writer.commits.get(item.video_id)
    if commit is None or not writer.is_stored(item.video_id):
        return False
    stat = item.path.stat()
    if stat.st_size != commit.source_size:
        return False
    return stat.st_mtime_ns == commit.source_mtime_ns or _sha256(item.path) == commit.source_sha256


def _decoded(source: FrameSource, info: VideoInfo, plan: SamplingPlan) -> Iterator[NDArray[np.uint8]]:
    with _media_errors(info.path):
        yield from source.read(info, plan)


@contextmanager
def _media_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OphclipError:
        raise
    except Exception as error:  # whatever a hostile file provokes in FFmpeg or DALI ends that video alone
        raise OphclipError(
            f"{path}: decoding failed: {type(error).__name__}: {error}", remedy="leave this file out"
        ) from error


def _attributes(
    item: CacheInput, info: VideoInfo, plan: SamplingPlan, source: FrameSource, size: int
) -> VideoAttributes:
    return {
        "video_id": item.video_id,
        "source_name": as_text(item.path.name),
        "source_size": size,
        "source_sha256": _sha256(item.path),
        "data_sha256": "",  # known once the rows are written
        "decoder": source.used,
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
