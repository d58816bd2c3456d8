# SPDX-License-Identifier: Apache-2.0
"""Decode a share of the stored frames anew from the video files, and compare them."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ophclip import console
from ophclip.cache.encoder import FrameRows, encode, source_for
from ophclip.cache.findings import Finding, VerifyReport
from ophclip.cache.journal import Commit
from ophclip.cache.location import Location
from ophclip.cache.root import check_provenance
from ophclip.cache.source_file import source_state
from ophclip.errors import OphclipError, UsageError
from ophclip.video import Decoder, FrameSource, Geometry, SamplingPlan, plan_sampling, probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ophclip.cache.encoder import Encoder
    from ophclip.cache.store import FeatureCache

# How far a frame made anew may lie from the stored one. The frames of one version of a decoder are equal; an
# encoder rounds differently with the size of its batches, and decoders differ in their scaling.
FRAME_LEVELS = 2.0  # mean over a frame, of 255, where the decoder is another version
ROW_SHARE = {True: 0.02, False: 0.1}  # of a row's norm, where the decoder is the same version, or is not
NEEDS_ENCODER = "name the encoder that made the rows: --encoder"


@dataclass(frozen=True)
class Tolerance:
    """How far rows may differ; `exact` where not at all."""

    exact: bool
    levels: float
    share: float

    def worst(self, made: NDArray[Any], stored: NDArray[Any]) -> tuple[int, str]:
        """Return the row that differs most and how; an empty text where all are within the tolerance."""
        axes = tuple(range(1, made.ndim))
        difference = np.abs(made.astype(np.float32) - stored.astype(np.float32))
        if stored.dtype == np.uint8:
            row = int(np.argmax(difference.mean(axis=axes)))
            mean, most = float(difference[row].mean()), int(difference[row].max())
            limit = 0.0 if self.exact else self.levels
            return row, f"by {mean:.2f} of 255 levels in the mean, {most} at most" if mean > limit else ""
        norms = np.sqrt((stored.astype(np.float32) ** 2).sum(axis=axes)) + 1e-12
        shares = np.sqrt((difference**2).sum(axis=axes)) / norms
        row = int(np.argmax(shares))
        return row, f"by {shares[row]:.1%} of its norm" if not shares[row] <= self.share else ""


def recorded_encoder(provenance: dict[str, Any], encoder: Encoder | None, path: Location) -> Encoder:
    """Return the encoder of a cache: `encoder` if it is that, or the one that stores frames as they are.

    Raises:
        UsageError: the cache holds features and `encoder` is None or another one.
    """
    if encoder is None:
        if provenance["encoder"] != FrameRows.name:
            made_by = provenance["encoder"]
            raise UsageError(f"{path} holds the rows of the encoder {made_by!r}", remedy=NEEDS_ENCODER)
        encoder = FrameRows(_geometry(provenance["geometry"]))
    wanted = provenance | {
        "encoder": encoder.name,
        "key": dict(encoder.key),
        "row_shape": list(encoder.row_shape),
        "dtype": encoder.dtype,
        "geometry": str(encoder.geometry),
    }
    check_provenance(path, provenance, wanted)
    return encoder


def check_samples(
    cache: FeatureCache,
    commits: Sequence[Commit],
    report: VerifyReport,
    *,
    share: float,
    encoder: Encoder | None,
    seed: int,
) -> None:
    """Compare `share` of the frames of each video of `commits`, drawn by `seed`, and add to `report`.

    A video file that is gone or has changed, or a decoder that is not here, is no damage: it is `unchecked`.

    Raises:
        UsageError: `encoder` is needed, or is another one.
    """
    encoder = recorded_encoder(cache.provenance, encoder, cache.path)
    with console.progress("decode", len(commits), "videos") as progress:
        for commit in commits:
            rows = _draw(commit, share, seed)
            if len(rows):
                try:
                    report.findings += _check(cache, commit, rows, encoder)
                    report.frames_decoded += len(rows)
                except (OphclipError, OSError, ValueError, RuntimeError) as error:
                    reason = error.message if isinstance(error, OphclipError) else str(error)
                    report.unchecked[commit.video_id] = reason
            progress.note(f"{report.frames_decoded:,} frames")
            progress.advance()


def _draw(commit: Commit, share: float, seed: int) -> NDArray[np.int64]:
    """Return the rows to decode, ascending: the share in the mean over many videos, also of short ones."""
    rng = np.random.default_rng([seed, zlib.crc32(commit.video_id.encode("utf-8", "surrogatepass"))])
    num_rows = commit.shape[0]
    count = min(num_rows, math.floor(share * num_rows + rng.random()))
    return np.sort(rng.choice(num_rows, count, replace=False))


def _check(cache: FeatureCache, commit: Commit, rows: NDArray[np.int64], encoder: Encoder) -> list[Finding]:
    state = source_state(commit)
    if state != "same":
        what = "is gone" if state == "gone" else "has changed since its rows were stored"
        raise OphclipError(f"{commit.source_path} {what}", remedy="cache build stores it anew")
    attributes = cache.attributes(commit.video_id)
    source = _source(attributes["decoder"], encoder)
    info = probe(Path(commit.source_path))
    plan = plan_sampling(info, Fraction(cache.provenance["fps"]))
    if plan.pts.tolist() != attributes["pts"]:
        what = f"its rows are of other frames than {commit.source_path} shows at those seconds"
        return [Finding(commit.video_id, "sample", what)]
    chosen = SamplingPlan(plan.times_s[rows], plan.pts[rows], plan.frame_times_s[rows])
    made = np.concatenate([encode(encoder, frames) for frames in source.read(info, chosen)])
    return _compared(made, cache[commit.video_id], rows, _tolerance(source, attributes, encoder), commit)


def _compared(
    made: NDArray[Any], stored: NDArray[Any], rows: NDArray[np.int64], tolerance: Tolerance, commit: Commit
) -> list[Finding]:
    worst, difference = tolerance.worst(made, stored[rows])
    if not difference:
        return []
    what = f"row {rows[worst]} differs from its frame in {commit.source_path} {difference}"
    return [Finding(commit.video_id, "sample", what)]


def _source(recorded: str, encoder: Encoder) -> FrameSource:
    """Open the decoder that is recorded beside the rows, as "pyav 18.1.0 ..." or "dali 2.4.0 gpu"."""
    name = recorded.partition(" ")[0]
    if name not in ("pyav", "dali"):
        raise OphclipError(f"its decoder {recorded!r} is not known here", remedy="upgrade ophclip")
    device = "cuda" if recorded.endswith(" gpu") else "cpu"
    return source_for(encoder, cast("Decoder", name), device)


def _tolerance(source: FrameSource, attributes: dict[str, Any], encoder: Encoder) -> Tolerance:
    is_same = source.used == attributes["decoder"]
    return Tolerance(is_same and encoder.dtype == "uint8", FRAME_LEVELS, ROW_SHARE[is_same])


def _geometry(text: str) -> Geometry:
    match = re.fullmatch(r"(crop|stretch) (\d+)x(\d+)", text)
    if match is None:
        raise UsageError(f"the frame geometry {text!r} is not known", remedy="upgrade ophclip")
    mode, height, width = match.groups()
    return Geometry(int(height), int(width), cast("Any", mode))
