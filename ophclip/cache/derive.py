# SPDX-License-Identifier: Apache-2.0
"""Encode frames that a `--stream frames` cache holds: as a build does, without decoding again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ophclip import console
from ophclip.cache.build import provenance_of
from ophclip.cache.clock import StageClock
from ophclip.cache.commit import CacheWriter
from ophclip.cache.encoder import Encoder, FrameRows
from ophclip.cache.layout import VideoAttributes
from ophclip.cache.report import BuildReport, Outcome, ReportedProgress
from ophclip.cache.store import FeatureCache
from ophclip.cache.writing import reason_of
from ophclip.errors import OphclipError, StorageError, UsageError
from ophclip.video import BATCH_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray


def derive_cache(
    source: FeatureCache,
    ids: Sequence[str],
    out: Path,
    *,
    encoder: Encoder,
    batch_size: int = BATCH_SIZE,
) -> BuildReport:
    """Store the rows of `encoder` for videos whose frames `source` holds.

    The result equals, and may be extended by, a cache built from the video files with the same encoder, rate
    and decoder. Videos that are stored already are skipped.

    Raises:
        UsageError: `source` holds no frames, or frames of another geometry; or `out` holds other rows.
        StorageError: `out` cannot be written.
    """
    _check_frames(source, encoder)
    made_with = source.provenance
    provenance = provenance_of(
        encoder,
        fps=made_with["fps"],
        decoder=made_with["decoder"],
        decoder_version=made_with["versions"]["decoder"],
    )
    report = BuildReport(decoder=made_with["decoder"])
    with CacheWriter(out, provenance) as writer, console.progress("cache", len(ids), "videos") as progress:
        counted, clock = ReportedProgress(report, progress), StageClock()
        for video_id in ids:
            outcome = _outcome(source, video_id, writer, encoder, batch_size, clock)
            counted.add(replace(outcome, stage_seconds=clock.take_seconds()))
    return report


def _outcome(
    source: FeatureCache,
    video_id: str,
    writer: CacheWriter,
    encoder: Encoder,
    batch_size: int,
    clock: StageClock,
) -> Outcome:
    try:
        if _is_current(source, video_id, writer):
            return Outcome(video_id, "skipped")
        with clock.working("write", video_id):
            rows = _encoded(source[video_id], encoder, batch_size, video_id, clock)
            return Outcome(video_id, "committed", _store(source, video_id, writer, rows))
    except (StorageError, UsageError):
        raise
    except (OphclipError, OSError) as error:  # one video's alone
        writer.fail(video_id, reason_of(error))
        return Outcome(video_id, "failed", reason=reason_of(error))


def _check_frames(source: FeatureCache, encoder: Encoder) -> None:
    if source.provenance["encoder"] != FrameRows.name:
        raise UsageError(
            f"{source.path} must hold frames, got the rows of {source.provenance['encoder']!r}",
            remedy="build one with --stream frames",
        )
    if source.provenance["geometry"] != str(encoder.geometry):
        raise UsageError(
            f"{source.path}: the frames must be {encoder.geometry}, got {source.provenance['geometry']}",
            remedy="build a frames cache of the encoder's size, or encode the video files",
        )


def _is_current(source: FeatureCache, video_id: str, writer: CacheWriter) -> bool:
    commit = writer.commits.get(video_id)
    return (
        commit is not None
        and writer.is_stored(video_id)
        and commit.source_sha256 == source.attributes(video_id)["source_sha256"]
    )


def _store(source: FeatureCache, video_id: str, writer: CacheWriter, rows: Iterator[NDArray[Any]]) -> int:
    return writer.store(
        video_id,
        rows,
        cast(VideoAttributes, source.attributes(video_id)),
        source_path=str(source.source_path(video_id)),
        source_mtime_ns=source.source_mtime_ns(video_id),
    )


def _encoded(
    frames: NDArray[Any], encoder: Encoder, batch_size: int, video_id: str, clock: StageClock
) -> Iterator[NDArray[Any]]:
    for begin in range(0, len(frames), batch_size):
        clock.leave("write")
        with clock.working("encode", video_id):
            rows = encoder(np.array(frames[begin : begin + batch_size]))  # writable, as from a decoder
        clock.enter("write", video_id)
        yield rows
