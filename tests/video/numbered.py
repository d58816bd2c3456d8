# SPDX-License-Identifier: Apache-2.0
"""Real video files whose frames show their own numbers, as ten dark or bright bars that any codec keeps."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

BITS = 10
OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "20"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
}


def draw(number: int, width: int = 160, height: int = 48) -> NDArray[np.uint8]:
    """Return a frame `[height, width, 3]` that shows `number`, the highest bit at the left."""
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    for bit, columns in enumerate(np.array_split(np.arange(width), BITS)):
        frame[:, columns] = 235 if number >> (BITS - 1 - bit) & 1 else 20
    return frame


def read_number(frame: NDArray[np.uint8]) -> int:
    """Return the number that a frame shows."""
    middle = frame[frame.shape[0] // 3 : 2 * frame.shape[0] // 3].mean(axis=(0, 2))
    bars = [columns[len(columns) // 4 : -(len(columns) // 4)] for columns in np.array_split(middle, BITS)]
    return int("".join("1" if bar.mean() > 128 else "0" for bar in bars), 2)


@contextmanager
def _video(
    path: Path, codec: str, size: tuple[int, int], time_base: Fraction, **settings: Any
) -> Iterator[Any]:
    options = OPTIONS.get(codec, {}) | settings.get("codec_options", {})
    with av.open(str(path), "w", options=settings.get("mux_options", {})) as output:
        stream = output.add_stream(codec, rate=settings.get("rate", 25), options=options)
        stream.width, stream.height = size
        stream.pix_fmt = settings.get("pix_fmt", "yuv420p")
        stream.gop_size = settings.get("gop", 12)
        stream.time_base = stream.codec_context.time_base = time_base
        stream.codec_context.thread_count = 1
        if "rotation" in settings:
            stream.set_display_rotation(settings["rotation"])
        if "aspect" in settings:
            stream.codec_context.sample_aspect_ratio = settings["aspect"]
        yield output, stream


def write_numbered(
    path: Path,
    pts: Sequence[int],
    time_base: Fraction,
    codec: str = "libx264",
    *,
    size: tuple[int, int] = (160, 48),
    audio_s: float = 0.0,
    shift: int = 0,
    **settings: Any,
) -> Path:
    """Write one frame a time in `pts`, numbered from 0; `audio_s` seconds of silence start at 0.

    `shift` is added to the packets' times in ticks of `time_base`: what cutting a stream does.
    """
    with _video(path, codec, size, time_base, **settings) as (output, stream):
        sound_codec = "libopus" if path.suffix == ".webm" else "aac"
        sound = output.add_stream(sound_codec, rate=48000) if audio_s else None
        packets = []
        for number, tick in enumerate(pts):
            packets += stream.encode(_frame(number, size, tick, time_base))
        packets += stream.encode(None)
        if sound is not None:
            packets += _silence(sound, audio_s)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            if packet.stream is stream:
                ticks = int(shift * time_base / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            output.mux(packet)
    return path


def write_audio(path: Path, seconds: float = 0.5) -> Path:
    """Write a file that holds sound alone."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=48000)
        for packet in _silence(stream, seconds):
            output.mux(packet)
    return path


def write_with_cover(path: Path, num_frames: int) -> Path:
    """Write an MP4 whose first stream is a large cover picture, with sound alone if there are no frames."""
    with av.open(str(path), "w") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 640, 640, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        video = output.add_stream("libx264" if num_frames else "aac", rate=25 if num_frames else 48000)
        packets = cover.encode(_frame(0, (640, 640), 0, Fraction(1))) + cover.encode(None)
        if num_frames:
            video.width, video.height, video.pix_fmt = 160, 48, "yuv420p"
            for number in range(num_frames):
                packets += video.encode(_frame(number, (160, 48), number, Fraction(1, 25)))
            packets += video.encode(None)
        else:
            packets += _silence(video, 0.5)
        output.mux(packets)
    return path


def _frame(number: int, size: tuple[int, int], tick: int, time_base: Fraction) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(draw(number, *size), format="rgb24")
    frame.pts, frame.time_base = tick, time_base
    return frame


def _silence(stream: Any, seconds: float) -> list[Any]:
    packets, samples = [], 960
    stream.layout = "mono"
    for start in range(0, int(seconds * 48000), samples):
        layout_format = stream.codec_context.format.name
        frame = av.AudioFrame(format=layout_format, layout="mono", samples=samples)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.sample_rate, frame.time_base = start, 48000, Fraction(1, 48000)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def remux(source: Path, target: Path, *, drop: int = 0, **options: str) -> Path:
    """Copy the packets of a video into another container, leaving out the first `drop`."""
    with av.open(str(source)) as given, av.open(str(target), "w", options=options) as output:
        stream = given.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for index, packet in enumerate(given.demux(stream)):
            if packet.size > 0 and index >= drop:
                packet.stream = copy
                output.mux(packet)
    return target


def trim(source: Path, target: Path, start: int, duration_ms: int) -> Path:
    """Copy an MP4 and let its edit list show `duration_ms` from media tick `start` on, as a phone trims."""
    data = bytearray(source.read_bytes())
    entry = data.index(b"elst") + 12  # behind the name, the version and flags, and the number of edits
    assert data[entry - 8] == 0
    data[entry : entry + 8] = struct.pack(">Ii", duration_ms, start)
    target.write_bytes(data)
    return target


def hide_every_third(source: Path, target: Path, first: int = 2) -> Path:
    """Copy a VP8 video; from `first` (2, 5, 8..) on, every third frame becomes one that is never shown."""
    with av.open(str(source)) as given, av.open(str(target), "w") as output:
        stream = given.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for index, packet in enumerate(given.demux(stream)):
            if packet.size > 0:
                data = bytearray(bytes(packet))
                if index >= first and index % 3 == 2:
                    data[0] &= ~0x10  # RFC 6386, 9.1: show_frame
                changed = av.Packet(bytes(data))
                changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
                changed.is_keyframe, changed.stream = packet.is_keyframe, copy
                output.mux(changed)
    return target


def wipe_packet(source: Path, target: Path, index: int) -> Path:
    """Copy a video and overwrite the bytes of its packet number `index` with zeros."""
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][index]
    data = bytearray(source.read_bytes())
    assert packet.pos is not None
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    target.write_bytes(data)
    return target


def decode_all(path: Path) -> list[tuple[int | None, int]]:
    """Return the time and the number of every frame FFmpeg shows of a file, in order: no plan, no seek."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        return [
            (frame.pts, read_number(frame.to_ndarray(format="rgb24"))) for frame in container.decode(stream)
        ]
