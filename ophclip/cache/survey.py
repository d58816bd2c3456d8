# SPDX-License-Identifier: Apache-2.0
"""What a media file says of itself in its first packets: enough to plan with, without reading the file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ophclip.errors import OphclipError
from ophclip.video import probe
from ophclip.video.complete import check_complete
from ophclip.video.probe import best_stream, open_container

MAX_PACKETS = 150  # of the video stream that are looked at
HEAD_BYTES = 1 << 16

SHORT_S, LONG_S = 2.0, 12 * 3600.0
HUGE_PIXELS = 4096 * 2160
MISMATCH_S, MISMATCH_SHARE = 1.0, 0.02  # by which the lengths of a file and of its video may differ
UNEVEN = 1.5  # longest step between frames by the shortest


@dataclass(frozen=True)
class Survey:
    """The facts of one readable video file; `warnings` are what one may want to look at before a build."""

    codec: str
    width: int  # pixels, as stored
    height: int
    fps: float  # mean over the first frames; 0 if unknown
    duration_s: float
    size: int  # bytes of the file
    head_sha256: str  # of the size and the first 64 KiB: equal for copies of a file
    warnings: list[str] = field(default_factory=list)


def survey_file(path: Path) -> Survey:
    """Look at a video file: its boxes, its header, and one decoded frame.

    Raises:
        OphclipError: the file is missing, truncated, no media file, without video, or not decodable here.
    """
    head_sha256, size = _head(path)
    check_complete(path)
    with open_container(path) as container:
        stream = best_stream(container, path)
        steps, frame = _look_ahead(container, stream)
        if frame is None:
            raise OphclipError(f"{path}: its first frames cannot be decoded", remedy="fetch it again")
        declared_s = _declared_s(container, stream)
        rate = 1 / float(np.mean(steps)) if sum(steps) else float(stream.average_rate or 0)
        facts = (stream.codec_context.codec.canonical_name, frame.width, frame.height, rate)
        warnings = [*_picture_warnings(frame), *_time_warnings(container, stream, steps)]
    duration_s = declared_s or probe(path).duration_s  # which reads the whole file
    if not declared_s:
        warnings.append("its container declares no length")
    return Survey(*facts, duration_s, size, head_sha256, warnings + _length_warnings(duration_s))


def _head(path: Path) -> tuple[str, int]:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise OphclipError(f"{path}: must be a video file", remedy="name a file")
        if size == 0:
            raise OphclipError(f"{path}: the file is empty", remedy="fetch it again")
        with path.open("rb") as file:
            return hashlib.sha256(b"%d " % size + file.read(HEAD_BYTES)).hexdigest(), size
    except OSError as error:
        reason = error.strerror or str(error)
        raise OphclipError(f"{path}: cannot be read: {reason}", remedy="check its permissions") from error


def _look_ahead(container: Any, stream: Any) -> tuple[list[float], Any]:
    """Return the seconds between the first frames, in order, and the first that can be decoded."""
    import av

    stream.codec_context.thread_count = 1
    ticks, frame = [], None
    for number, packet in enumerate(container.demux(stream)):
        if number == MAX_PACKETS:
            break
        ticks.append(packet.dts if packet.dts is not None else packet.pts)
        if frame is None:
            try:
                frame = next(iter(packet.decode()), None)
            except av.FFmpegError:
                continue  # a stream that was cut from a longer one starts between key frames
    known = sorted(tick for tick in ticks if tick is not None)
    return (np.diff(known) * float(stream.time_base)).tolist(), frame


def _declared_s(container: Any, stream: Any) -> float:
    if stream.duration:
        return float(stream.duration * Fraction(stream.time_base))
    return float(container.duration or 0) / 1e6


def _picture_warnings(frame: Any) -> list[str]:
    warnings = []
    if frame.rotation % 360:
        warnings.append(f"rotated by {frame.rotation % 360} degrees")
    if frame.interlaced_frame:
        warnings.append("interlaced: stored as it is, with combs where something moves")
    if frame.width * frame.height > HUGE_PIXELS:
        warnings.append(f"{frame.width}x{frame.height} pixels decode slowly")
    return warnings


def _time_warnings(container: Any, stream: Any, steps: list[float]) -> list[str]:
    warnings = []
    positive = [step for step in steps if step > 0]
    if len(positive) > 1 and max(positive) > UNEVEN * min(positive):
        span = f"{1000 * min(positive):.0f} to {1000 * max(positive):.0f} ms"
        warnings.append(f"variable frame rate: {span} between frames")
    whole_s, video_s = float(container.duration or 0) / 1e6, _declared_s(container, stream)
    if abs(whole_s - video_s) > max(MISMATCH_S, MISMATCH_SHARE * max(whole_s, video_s)):
        warnings.append(f"its video lasts {video_s:.1f} of {whole_s:.1f} s")
    counted_s = (
        float(stream.frames / stream.average_rate) if stream.frames and stream.average_rate else video_s
    )
    if abs(counted_s - video_s) > max(MISMATCH_S, MISMATCH_SHARE * video_s):
        warnings.append(
            f"its {stream.frames:,} frames last {counted_s:.1f} s, not the declared {video_s:.1f} s"
        )
    return warnings


def _length_warnings(duration_s: float) -> list[str]:
    if duration_s < SHORT_S:
        return [f"only {duration_s:.1f} s long"]
    return [f"{duration_s / 3600:.1f} hours long"] if duration_s > LONG_S else []
