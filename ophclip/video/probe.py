# SPDX-License-Identifier: Apache-2.0
"""What a container says of its best video stream: every frame's presentation time, by demuxing alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip.errors import OphclipError
from ophclip.video.complete import check_complete, truncated

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRUNCATION_TOLERANCE_S = 1.0  # headers round durations


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
    by_count: bool = False  # the container has decode times only (AVI): the n-th frame decoded is pts[n]

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
    try:
        _check_file(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OphclipError(f"{path}: cannot be read: {reason}", remedy="check its permissions") from error
    with open_container(path) as container:
        stream = best_stream(container, path)
        packets = _read_packets(container, stream)
        by_count = _has_decode_times_only(container.format.name, packets)
        if by_count:
            _count_frames(packets, path)
        _check_end(path, container, stream, packets)
        return _describe(path, container, stream, packets, by_count)


@contextmanager
def open_container(path: Path) -> Iterator[Any]:
    """Open a media file for demuxing; FFmpeg's errors come out naming the path.

    Raises:
        OphclipError: FFmpeg cannot open or read the file.
    """
    import av

    av.logging.set_level(None)  # what matters is raised; a corpus of odd files would flood the terminal
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
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
    if not path.exists():
        raise OphclipError(f"{path}: no such file", remedy="check the path")
    if not path.is_file():
        what = "a folder" if path.is_dir() else "a pipe or device"
        raise OphclipError(f"{path}: must be a video file, got {what}", remedy="name a file")
    if path.stat().st_size == 0:
        raise OphclipError(f"{path}: the file is empty", remedy="fetch it again")
    check_complete(path)


@dataclass
class _Packets:
    """The packets of one stream in decode order, and the first frame they give."""

    pts: list[Any] = field(default_factory=list)  # int, or None where the container gives none
    dts: list[Any] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    is_shown: list[bool] = field(default_factory=list)
    num_untimed: int = 0
    last_is_corrupt: bool = False
    first_frame: Any = None


def _read_packets(container: Any, stream: Any) -> _Packets:
    import av

    packets = _Packets()
    codec = stream.codec_context.name
    # There a packet without a time is the second field of a frame, which shows at the time of the first.
    may_lack_pts = container.format.name in ("mpegts", "mpeg")
    stream.codec_context.thread_count = 1  # several threads would read packets ahead for one frame
    for packet in container.demux(stream):
        if packet.size > 0:
            packets.last_is_corrupt = packet.is_corrupt
            if packet.pts is not None or (packet.dts is not None and not may_lack_pts):
                _add_packet(packets, packet, codec)
            else:
                packets.num_untimed += 1
        if packets.first_frame is None:
            try:
                packets.first_frame = next(iter(packet.decode()), None)
            except av.FFmpegError:
                continue  # a damaged start: the decoder will say so when it comes to the frames
    return packets


def _add_packet(packets: _Packets, packet: Any, codec: str) -> None:
    packets.pts.append(packet.pts)
    packets.dts.append(packet.dts)
    packets.durations.append(packet.duration or 0)
    packets.is_key.append(packet.is_keyframe)
    packets.is_shown.append(not packet.is_discard and not _is_hidden(packet, codec))


def _is_hidden(packet: Any, codec: str) -> bool:
    # VP8 carries reference pictures that are never shown; RFC 6386, 9.1: bit 4 of the frame tag.
    return codec in ("vp8", "libvpx") and not memoryview(packet)[0] >> 4 & 1


def _has_decode_times_only(name: str, packets: _Packets) -> bool:
    # Where AVI reorders frames, FFmpeg's presentation times are guesses, and wrong ones for H.264.
    return None in packets.pts or (name == "avi" and packets.pts != packets.dts)


def _count_frames(packets: _Packets, path: Path) -> None:
    """Give the n-th frame that is decoded the n-th time, and no key frame to seek to but the first."""
    if None in packets.dts or not packets.is_key[0]:
        raise _untimed(path)
    packets.pts = sorted(packets.dts)
    packets.is_key = [index == 0 for index in range(len(packets.pts))]
    packets.is_shown = [True] * len(packets.pts)


def _describe(path: Path, container: Any, stream: Any, packets: _Packets, by_count: bool) -> VideoInfo:
    if packets.num_untimed and not packets.pts:
        raise _untimed(path)
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
        by_count=by_count,
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


def _check_end(path: Path, container: Any, stream: Any, packets: _Packets) -> None:
    """Check what `check_complete` cannot see: a cut frame, and the durations of FLV and ASF."""
    name = container.format.name
    if packets.last_is_corrupt and name != "mpegts":
        raise truncated(path, "its last frame is cut")
    if name not in ("flv", "asf") or not container.duration or not packets.pts:
        return
    declared_s = container.duration / 1e6
    end_s = float(max(packets.pts) * stream.time_base)
    if declared_s - end_s > TRUNCATION_TOLERANCE_S:
        end_s = max(end_s, _end_of_all_streams_s(container))
        if declared_s - end_s > TRUNCATION_TOLERANCE_S:
            raise truncated(path, f"{end_s:.2f} of {declared_s:.2f} s are there")


def _end_of_all_streams_s(container: Any) -> float:
    container.seek(container.start_time or 0)
    ends = (
        float((packet.pts + (packet.duration or 0)) * packet.time_base)
        for packet in container.demux()
        if packet.pts is not None and packet.size > 0
    )
    return max(ends, default=0.0)


def _untimed(path: Path) -> OphclipError:
    return OphclipError(f"{path}: its frames carry no times", remedy="remux it to MP4 or Matroska")
