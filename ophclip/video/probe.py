# SPDX-License-Identifier: Apache-2.0
"""What a container says of its best video stream: every frame's presentation time, by demuxing alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip.errors import OphclipError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRUNCATION_TOLERANCE_S = 1.0  # headers round durations, and an edit may end between two frames


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """The facts that sampling and decoding need of one video file.

    Ticks (`pts`, `end_pts`, `keyframes`) count `time_base` seconds. `start` is the instant a player starts
    the file at: the container's start, which a late first frame follows. `width` and `height` are as
    displayed, pixel aspect and `rotation` (degrees counter-clockwise a decoder must turn the picture by)
    applied.
    """

    path: Path
    codec: str
    stream_index: int
    width: int
    height: int
    rotation: int
    time_base: Fraction
    pts: NDArray[np.int64]  # [N] of the frames shown, ascending: presentation order
    end_pts: int  # when the last frame leaves the screen
    keyframes: NDArray[np.int64]  # ascending pts from which decoding can start; some may not be shown
    start: Fraction  # seconds
    generate_pts: bool = field(default=False)  # the container has decode times only (AVI)

    @property
    def start_s(self) -> float:
        """Seconds, on the container's clock, at which a player starts."""
        return float(self.start)

    @property
    def duration_s(self) -> float:
        """Seconds from the start until the last frame leaves the screen."""
        return float(self.end_pts * self.time_base - self.start)

    @property
    def fps(self) -> float:
        """Mean frame rate over the frames shown."""
        return len(self.pts) / float((self.end_pts - int(self.pts[0])) * self.time_base)


def probe(path: Path) -> VideoInfo:
    """Read the facts of the best video stream of `path`; cover pictures are not video.

    Decodes nothing but the first frame, which alone says how the picture is turned and whether the frames
    ahead of the first key frame can be shown.

    Raises:
        OphclipError: the file is missing, unreadable, no media file, truncated, or holds no video frames.
    """
    path = Path(path).absolute()
    _check_file(path)
    info = _probe(path, generate_pts=False)
    return info if info is not None else _require(_probe(path, generate_pts=True), path)


@contextmanager
def open_container(path: Path, *, generate_pts: bool = False) -> Iterator[Any]:
    """Open a media file for demuxing; FFmpeg's errors come out naming the path.

    Raises:
        OphclipError: FFmpeg cannot open or read the file.
    """
    import av

    av.logging.set_level(None)  # what matters is raised; a corpus of odd files would flood the terminal
    options = {"fflags": "+genpts"} if generate_pts else {}
    try:
        with av.open(str(path), options=options, metadata_errors="ignore") as container:
            yield container
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OphclipError(
            f"{path}: cannot be read as video: {reason}", remedy="fetch or convert the file again"
        ) from error


def best_stream(container: Any, path: Path) -> Any:
    """Return the video stream that a player would choose, never a cover picture.

    Raises:
        OphclipError: there is none, or no decoder knows its codec.
    """
    from av.stream import Disposition

    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not streams:
        raise OphclipError(f"{path}: no video stream", remedy="leave this file out")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise OphclipError(f"{path}: no decoder for its video stream", remedy="convert it to H.264")
    return stream


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise OphclipError(f"{path}: must be a video file, got a folder", remedy="name a file")
    if not path.exists():
        raise OphclipError(f"{path}: no such file", remedy="check the path")
    if not os.access(path, os.R_OK):
        raise OphclipError(f"{path}: not readable", remedy="check its permissions")
    if path.stat().st_size == 0:
        raise OphclipError(f"{path}: the file is empty", remedy="fetch it again")


@dataclass
class _Packets:
    """The packets of one stream in decode order, and the first frame they give."""

    pts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    is_shown: list[bool] = field(default_factory=list)
    missing_pts: int = 0
    last_is_corrupt: bool = False
    first_frame: Any = None


def _probe(path: Path, *, generate_pts: bool) -> VideoInfo | None:
    with open_container(path, generate_pts=generate_pts) as container:
        stream = best_stream(container, path)
        packets = _read_packets(container, stream)
        if packets.missing_pts and not packets.pts:
            return None
        _check_complete(path, container, stream, packets)
        return _describe(path, container, stream, packets, generate_pts)


def _read_packets(container: Any, stream: Any) -> _Packets:
    import av

    packets = _Packets()
    codec = stream.codec_context.name
    stream.codec_context.thread_count = 1  # several threads would read packets ahead for one frame
    for packet in container.demux(stream):
        if packet.size > 0:
            packets.last_is_corrupt = packet.is_corrupt
            _add_packet(packets, packet, codec)
        if packets.first_frame is None:
            try:
                packets.first_frame = next(iter(packet.decode()), None)
            except av.FFmpegError:
                continue  # a damaged start: the decoder will say so when it comes to the frames
    return packets


def _add_packet(packets: _Packets, packet: Any, codec: str) -> None:
    if packet.pts is None:
        packets.missing_pts += 1
        return
    packets.pts.append(packet.pts)
    packets.durations.append(packet.duration or 0)
    packets.is_key.append(packet.is_keyframe)
    packets.is_shown.append(not packet.is_discard and not _is_hidden(packet, codec))


def _is_hidden(packet: Any, codec: str) -> bool:
    # VP8 carries reference pictures that are never shown; RFC 6386, 9.1: bit 4 of the frame tag.
    return codec in ("vp8", "libvpx") and not memoryview(packet)[0] >> 4 & 1


def _describe(
    path: Path, container: Any, stream: Any, packets: _Packets, generate_pts: bool
) -> VideoInfo | None:
    pts = np.asarray(packets.pts, dtype=np.int64)
    is_key = np.asarray(packets.is_key, dtype=bool)
    shown = np.asarray(packets.is_shown, dtype=bool) & _decodable(pts, is_key, packets.first_frame)
    if not shown.any():
        raise OphclipError(f"{path}: no video frames", remedy="fetch it again, or leave it out")
    shown_pts = np.unique(pts[shown])
    last = int(np.flatnonzero(shown)[np.argmax(pts[shown])])
    frame = packets.first_frame
    width, height, rotation = _display_size(stream, frame)
    return VideoInfo(
        path=path,
        codec=stream.codec_context.codec.canonical_name,
        stream_index=stream.index,
        width=width,
        height=height,
        rotation=rotation,
        time_base=Fraction(stream.time_base),
        pts=shown_pts,
        end_pts=int(pts[last]) + (packets.durations[last] or _typical_step(shown_pts, stream)),
        keyframes=np.unique(pts[is_key]),
        start=_start(container, stream, shown_pts),
        generate_pts=generate_pts,
    )


def _decodable(pts: NDArray[np.int64], is_key: NDArray[np.bool_], first_frame: Any) -> NDArray[np.bool_]:
    """Return which frames a decoder can show: a stream cut from a longer one starts between key frames."""
    keys = np.flatnonzero(is_key)
    if not len(keys):
        return np.ones(len(pts), dtype=bool)
    decodable: NDArray[np.bool_] = np.arange(len(pts)) >= keys[0]
    if first_frame is not None and first_frame.pts is not None:
        decodable = decodable & ((pts >= first_frame.pts) | (pts >= pts[keys[0]]))
    return decodable


def _display_size(stream: Any, frame: Any) -> tuple[int, int, int]:
    context = stream.codec_context
    width, height = (context.width, context.height) if frame is None else (frame.width, frame.height)
    aspect = stream.sample_aspect_ratio
    if aspect:
        width = max(1, round(width * Fraction(aspect)))
    rotation = 0 if frame is None else int(frame.rotation) % 360
    return (height, width, rotation) if rotation in (90, 270) else (width, height, rotation)


def _typical_step(pts: NDArray[np.int64], stream: Any) -> int:
    if len(pts) > 1:
        return max(1, int(np.median(np.diff(pts))))
    rate = stream.average_rate or stream.guessed_rate or 25
    return max(1, round(1 / (Fraction(rate) * Fraction(stream.time_base))))


def _start(container: Any, stream: Any, pts: NDArray[np.int64]) -> Fraction:
    first = int(pts[0]) * Fraction(stream.time_base)
    if container.start_time is None:
        return first
    start = Fraction(container.start_time, 1_000_000)
    # FFmpeg rounds the container's start to microseconds: a start at the first frame is that frame's time.
    return first if abs(start - first) <= Fraction(1, 1_000_000) else start


def _check_complete(path: Path, container: Any, stream: Any, packets: _Packets) -> None:
    names = container.format.name
    count = len(packets.pts) + packets.missing_pts
    if "mp4" in names and stream.frames and count < stream.frames:
        raise _truncated(path, f"{count} of {stream.frames} frames")
    if packets.last_is_corrupt and names != "mpegts":
        raise _truncated(path, "the last frame is cut")
    if names == "mpegts" or not container.duration or not packets.pts:
        return
    # Matroska counts its duration from zero, MP4 from the start: the later of the two ends is the fair one.
    declared_s = container.duration / 1e6 + min(0.0, (container.start_time or 0) / 1e6)
    end_s = float(max(packets.pts) * stream.time_base)
    if declared_s - end_s > TRUNCATION_TOLERANCE_S:
        end_s = max(end_s, _end_of_all_streams_s(container))
        if declared_s - end_s > TRUNCATION_TOLERANCE_S:
            raise _truncated(path, f"{end_s:.2f} of {declared_s:.2f} s")


def _end_of_all_streams_s(container: Any) -> float:
    container.seek(container.start_time or 0)
    ends = (
        float((packet.pts + (packet.duration or 0)) * packet.time_base)
        for packet in container.demux()
        if packet.pts is not None and packet.size > 0
    )
    return max(ends, default=0.0)


def _truncated(path: Path, what: str) -> OphclipError:
    return OphclipError(f"{path}: the file is truncated: {what} are there", remedy="fetch it again")


def _require(info: VideoInfo | None, path: Path) -> VideoInfo:
    if info is None:
        raise OphclipError(f"{path}: its frames carry no times", remedy="remux it to MP4 or Matroska")
    return info
