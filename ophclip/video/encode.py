# SPDX-License-Identifier: Apache-2.0
"""Write a video file: the same frames always give the same bytes, and a half-written file is never seen."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ophclip.errors import OphclipError, UsageError, did_you_mean
from ophclip.video.sampling import check_fps

if TYPE_CHECKING:
    from numpy.typing import NDArray

VideoCodec = Literal["h264", "vp9"]

ENCODERS = {"h264": "libx264", "vp9": "libvpx-vp9"}
CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
}
ODD_SIZES = frozenset({"vp9"})  # 4:2:0 H.264 has even sides only


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: float | Fraction,
    codec: VideoCodec = "h264",
    *,
    keyframe_interval: int = 48,
    quality: int | None = None,
) -> int:
    """Encode `frames`, each uint8 `[H, W, 3]` RGB of one size, at a constant rate; return their number.

    The container follows the suffix (.mp4, .m4v, .mov, .mkv, .webm, .ts). Pixels are 4:2:0, one thread
    encodes and the muxer writes no dates or random ids, so the bytes depend on the frames and the FFmpeg
    build alone. The file appears under its name only once it is whole. `quality` is the encoder's constant
    rate factor (lower is better; 23 for H.264 and 36 for VP9 if None), `keyframe_interval` counts frames.

    Raises:
        UsageError: the codec, suffix, frame rate or frame size cannot be written.
        OphclipError: there are no frames, or the file cannot be written.
    """
    import av

    path = Path(path)
    container = _container_of(path, codec)
    stream_frames = iter(frames)
    first = next(stream_frames, None)
    if first is None:
        raise OphclipError(f"{path}: a video must have at least one frame, got none", remedy="pass frames")
    _check_frame(path, first, first.shape, codec)
    rate = check_fps(fps)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        checked = _checked(path, chain((first,), stream_frames), first.shape, codec)
        options = _encoder_options(codec, quality)
        count = _encode(temporary, container, checked, rate, codec, options, keyframe_interval)
        _publish(temporary, path)
    except OSError as error:
        raise OphclipError(
            f"cannot write {path}: {error.strerror or error}", remedy="check the folder and the free space"
        ) from error
    except av.FFmpegError as error:
        height, width = first.shape[:2]
        raise UsageError(
            f"cannot write {path}: FFmpeg refuses {width}x{height}, fps {rate}, quality {quality}: {error}",
            remedy="choose other values",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _encode(
    path: Path,
    container: str,
    frames: Iterator[NDArray[np.uint8]],
    rate: Fraction,
    codec: str,
    options: dict[str, str],
    keyframe_interval: int,
) -> int:
    import av

    first = next(frames)
    count = 0
    # bitexact: no random segment ids, dates or version strings; faststart: a browser can seek at once.
    mux_options = {"fflags": "+bitexact"} | (
        {"movflags": "+faststart"} if container in ("mp4", "mov") else {}
    )
    with av.open(str(path), "w", format=container, options=mux_options) as output:
        stream: Any = output.add_stream(ENCODERS[codec], rate=rate, options=options)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = keyframe_interval
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = 1 / rate
        for image in chain((first,), frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = count, 1 / rate
            output.mux(stream.encode(frame))
            count += 1
        output.mux(stream.encode(None))
    return count


def _publish(temporary: Path, path: Path) -> None:
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())  # else a power cut could leave the name and no content
    temporary.replace(path)  # atomic: the two are in one folder


def _encoder_options(codec: str, quality: int | None) -> dict[str, str]:
    if codec == "h264":
        return {
            "preset": "veryfast",
            "crf": str(23 if quality is None else quality),
            "mbtree": "0",  # with it 2 of 1,200 encodings of the same frames differed, without none of 6,200
            "threads": "1",
        }
    return {
        "deadline": "realtime",
        "cpu-used": "8",
        "b": "0",  # constant quality
        "crf": str(36 if quality is None else quality),
        "row-mt": "0",
        "threads": "1",
    }


def _container_of(path: Path, codec: str) -> str:
    if codec not in ENCODERS:
        raise UsageError(f"unknown video codec {codec!r}", remedy=did_you_mean(codec, ENCODERS))
    container = CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise UsageError(
            f"{path}: the suffix must name a container, got {path.suffix!r}",
            remedy=f"use one of {', '.join(CONTAINERS)}",
        )
    if container == "webm" and codec == "h264":
        raise UsageError(f"{path}: WebM cannot hold H.264", remedy="use .mp4, or the vp9 codec")
    return container


def _checked(
    path: Path, frames: Iterator[NDArray[np.uint8]], shape: tuple[int, ...], codec: str
) -> Iterator[NDArray[np.uint8]]:
    for frame in frames:
        _check_frame(path, frame, shape, codec)
        yield frame


def _check_frame(path: Path, frame: NDArray[np.uint8], shape: tuple[int, ...], codec: str) -> None:
    is_picture = frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 and frame.size > 0
    if not is_picture or frame.shape != shape:
        raise UsageError(
            f"{path}: frames must all be uint8 [H, W, 3] of one size, got {frame.dtype} {list(frame.shape)}",
            remedy="convert the frames first",
        )
    if codec not in ODD_SIZES and (frame.shape[0] % 2 or frame.shape[1] % 2):
        raise UsageError(
            f"{path}: H.264 needs even sides, got {frame.shape[1]}x{frame.shape[0]}",
            remedy="crop a row or column, or use the vp9 codec",
        )
