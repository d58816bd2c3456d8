# SPDX-License-Identifier: Apache-2.0
"""Decode planned frames with PyAV (FFmpeg on the CPU): exact on every container and codec it opens."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip.errors import OphclipError
from ophclip.video.batches import batched
from ophclip.video.geometry import Geometry
from ophclip.video.probe import VideoInfo, open_container
from ophclip.video.sampling import SamplingPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A seek, with the key frame that it leads to, costs 4 to 7 average frames; what it passes over may be cheap.
SEEK_PAYS_FRAMES = 12
MPEG_REORDERING_S = 1  # more than any encoder holds frames back


class PyavSource:
    """A `FrameSource` that decodes on the CPU; scaling is swscale's bilinear, filtered when it shrinks."""

    name = "pyav"

    def __init__(self, geometry: Geometry, *, batch_size: int, threads: int = 0) -> None:
        self.geometry = geometry
        self.batch_size = batch_size
        self.threads = threads  # of the decoder; 0: as many as there are cores
        self.used = f"{self.name} {self.version}"

    @property
    def version(self) -> str:
        """PyAV's version and that of the libavcodec inside it."""
        import av

        codec = ".".join(str(part) for part in av.library_versions["libavcodec"])
        return f"{av.__version__} libavcodec {codec}"

    def group_of(self, info: VideoInfo) -> None:
        """Return None: nothing is gained by reading several videos together."""

    def read_together(
        self, videos: Sequence[tuple[VideoInfo, SamplingPlan]]
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield the frames of each video in turn."""
        for number, (info, plan) in enumerate(videos):
            yield from ((number, frames) for frames in self.read(info, plan))

    def read(self, info: VideoInfo, plan: SamplingPlan) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 batches `[n, H, W, 3]`, RGB, in the order of the plan.

        Raises:
            OphclipError: a planned frame is not in the file, or cannot be decoded.
        """
        from av.video.reformatter import VideoReformatter

        wanted, repeats = np.unique(plan.pts, return_counts=True)
        scaler = VideoReformatter()  # one a video: a frame's own would start its threads anew
        pictures = (
            self._picture(info, scaler, frame) for frame in _planned_frames(info, wanted, self.threads)
        )
        return batched(pictures, repeats, self.geometry, self.batch_size)

    def _picture(self, info: VideoInfo, scaler: Any, frame: Any) -> NDArray[np.uint8]:
        width, height = self.geometry.scaled_size(info.width, info.height)
        if info.rotation in (90, 270):
            width, height = height, width
        scaled = scaler.reformat(frame, width, height, "rgb24", interpolation="BILINEAR", threads=1)
        picture: NDArray[np.uint8] = np.rot90(scaled.to_ndarray(), info.rotation // 90)
        return self.geometry.cut(picture)


class _ShortcutMissed(Exception):  # noqa: N818 (a signal between two functions here, not an error)
    """A seek did not lead to its key frame, or with a seek or skipped frames a planned frame did not come."""


def _planned_frames(info: VideoInfo, wanted: NDArray[np.int64], threads: int) -> Iterator[Any]:
    done = 0
    try:
        with _opened(info, threads) as container:
            for key, targets in _segments(info, wanted, threads):
                for frame in _decode_segment(info, container, key, targets, skips=_can_skip(info)):
                    yield frame
                    done += 1
            return
    except _ShortcutMissed:
        pass  # some containers cannot seek; others flag key frames that are none
    with _opened(info, threads) as container:
        yield from _decode_segment(info, container, None, wanted[done:], skips=False)


@contextmanager
def _opened(info: VideoInfo, threads: int) -> Iterator[Any]:
    with open_container(info.path) as container:
        context = container.streams[info.stream_index].codec_context
        context.thread_type, context.thread_count = "AUTO", threads
        yield container


def _segments(
    info: VideoInfo, wanted: NDArray[np.int64], threads: int
) -> Iterator[tuple[int | None, NDArray[np.int64]]]:
    """Cut the planned frames where seeking to a key frame is cheaper than decoding up to it."""
    in_flight = (threads or os.cpu_count() or 1) - 1  # a frame in each other thread, which a seek throws away
    key_index = np.searchsorted(info.keyframes, wanted, side="right") - 1
    keys = info.keyframes[np.maximum(key_index, 0)] if len(info.keyframes) else np.full_like(wanted, -1)
    position = np.searchsorted(info.pts, wanted)
    reached = np.concatenate(([0], position[:-1] + 1))
    saved = np.searchsorted(info.pts, keys) - reached
    cuts = np.flatnonzero((saved > SEEK_PAYS_FRAMES + in_flight) & (key_index >= 0))
    bounds = np.unique(np.concatenate(([0], cuts, [len(wanted)])))
    for begin, end in pairwise(bounds):
        yield (int(keys[begin]) if begin in cuts else None), wanted[begin:end]


def _can_skip(info: VideoInfo) -> bool:
    """Return whether frames can be left undecoded: H.264 marks those that no other frame is made from."""
    return info.codec == "h264" and not info.by_count


def _decode_segment(
    info: VideoInfo, container: Any, key: int | None, targets: NDArray[np.int64], *, skips: bool
) -> Iterator[Any]:
    """Yield the frames at `targets` in order, decoding from key frame `key` or from where the file starts."""
    produced = 0
    reasons: list[str] = []
    needed = frozenset(targets.tolist()) if skips else None
    for pts, frame in _timed(info, _decode_from(info, container, key, needed, reasons)):
        if pts is None or pts < targets[produced]:
            continue
        if pts > targets[produced] or frame.is_corrupt:
            break
        yield frame
        produced += 1
        if produced == len(targets):
            return
    if key is not None or skips:
        raise _ShortcutMissed
    second = float(int(targets[produced]) * info.time_base - info.start)
    reason = f" ({reasons[-1]})" if reasons else ""
    raise OphclipError(
        f"{info.path}: the frame at {second:.3f} s cannot be decoded{reason}",
        remedy="the file is truncated or damaged: fetch it again",
    )


def _timed(info: VideoInfo, frames: Iterator[Any]) -> Iterator[tuple[int | None, Any]]:
    if info.by_count:
        return zip(info.pts.tolist(), frames, strict=False)
    return ((frame.pts, frame) for frame in frames)


def _decode_from(
    info: VideoInfo, container: Any, key: int | None, needed: frozenset[int] | None, reasons: list[str]
) -> Iterator[Any]:
    """Yield frames from `key` on; where `needed` is given, the others only if a frame is made from them."""
    import av

    stream = container.streams[info.stream_index]
    if key is not None:
        _seek(container, stream, key)
    feeding = key is None
    for packet in container.demux(stream):
        if not feeding:
            feeding = packet.pts == key and packet.is_keyframe
            if not feeding and _is_past(packet, key):
                raise _ShortcutMissed
        if feeding:
            if needed is not None:
                _skip(stream.codec_context, packet.pts is not None and packet.pts not in needed)
            try:
                yield from packet.decode()
            except av.FFmpegError as error:
                reasons.append(error.strerror or str(error))
                if info.by_count:
                    return  # the frames that follow would be miscounted


def _skip(context: Any, skips: bool) -> None:
    wanted = "NONREF" if skips else "DEFAULT"
    if context.skip_frame != wanted:
        context.skip_frame = wanted


def _seek(container: Any, stream: Any, key: int) -> None:
    import av

    # MPEG streams have no index: there FFmpeg looks for decode times, of which a key frame's lies before it.
    is_mpeg = container.format.name in ("mpegts", "mpeg")
    target = key - round(MPEG_REORDERING_S / stream.time_base) if is_mpeg else key
    try:
        container.seek(target, stream=stream, backward=True)
    except av.FFmpegError as error:
        raise _ShortcutMissed from error


def _is_past(packet: Any, key: int | None) -> bool:
    return packet.size == 0 or (key is not None and packet.dts is not None and packet.dts > key)
