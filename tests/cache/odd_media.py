# SPDX-License-Identifier: Apache-2.0
"""Odd videos that must come out right, and hostile ones that must fail alone; frames show their numbers."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "video"))

from numbered import decode_all, wipe_packet, write_audio, write_numbered, write_with_cover
from video_samples import SAMPLES, TICK

from ophclip.video import Geometry, probe

WHOLE = Geometry(48, 160, "stretch")  # the bars of a number stay where they are
FRAMES = range(30)


def _video(codec: str, **settings: object) -> Callable[[Path], Path]:
    return lambda path: write_numbered(path, FRAMES, TICK, codec, **settings)


QUIET_X265 = {"codec_options": {"x265-params": "log-level=none"}}


def _av1(path: Path) -> Path:
    options = {"preset": "12", "svtav1-params": "lp=1"}
    try:
        return write_numbered(path, FRAMES, TICK, "libsvtav1", codec_options=options, size=(160, 64))
    finally:
        # For root this encoder takes the highest real-time priority, and would keep it.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


GOOD: dict[str, Callable[[Path], Path]] = SAMPLES | {
    "av1.mkv": _av1,
    "av1.mp4": _av1,
    "hevc_10bit.mp4": _video("libx265", pix_fmt="yuv420p10le", **QUIET_X265),
    "hevc.ts": _video("libx265", **QUIET_X265),
    "h264_10bit.mkv": _video("libx264", pix_fmt="yuv420p10le"),
    "odd_sides.webm": _video("libvpx-vp9", size=(161, 49)),
    "odd_sides.mkv": _video("ffv1", size=(161, 49)),
    "prores.mov": _video("prores_ks", pix_fmt="yuv422p10le"),
    "cover.mp4": lambda path: write_with_cover(path, num_frames=30),
}


def numbers_on_screen(path: Path, fps: int) -> tuple[list[int], list[float]]:
    """Return the number and the true second of the frame that FFmpeg shows at each k / fps of the whole file.

    Every frame is decoded, nothing is planned: this is what the rows of a cache are held against.
    """
    info = probe(path)
    shown = decode_all(path)
    if info.by_count:
        shown = list(enumerate(number for _, number in shown))
    times = [(pts * info.time_base - info.start, number) for pts, number in shown if pts is not None]
    end = info.end_pts * info.time_base - info.start
    rows = [
        ([frame for frame in times if frame[0] <= Fraction(k, fps)] or times[:1])[-1]
        for k in range(max(1, -(-end * fps // 1)))
    ]
    return [number for _, number in rows], [float(second) for second, _ in rows]


def _cut(name: str, share: float) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        whole = SAMPLES[name](path.with_name(f"whole-{path.name}"))
        data = whole.read_bytes()
        whole.unlink()
        path.write_bytes(data[: int(len(data) * share)])
        return path

    return write


def _patched(name: str, mark: bytes, offset: int, value: bytes) -> Callable[[Path], Path]:
    """Write a sample with the bytes `offset` behind the first `mark` replaced."""

    def write(path: Path) -> Path:
        whole = SAMPLES[name](path.with_name(f"whole-{path.name}"))
        data = bytearray(whole.read_bytes())
        whole.unlink()
        place = data.index(mark) + offset
        data[place : place + len(value)] = value
        path.write_bytes(data)
        return path

    return write


def _wiped(path: Path) -> Path:
    whole = SAMPLES["vp9.mp4"](path.with_name(f"whole-{path.name}"))
    wipe_packet(whole, path, 0)
    whole.unlink()
    return path


def _bytes(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


TWO_GB = (0x7FFFFFF0).to_bytes(4, "big")

BAD: dict[str, tuple[Callable[[Path], Path], str]] = {  # and what the reason says
    "empty.mp4": (_bytes(b""), "the file is empty"),
    "zeros.mp4": (_bytes(bytes(100_000)), "cannot be read as video"),
    "text.mkv": (_bytes(b"Dear reader, this is no video.\n" * 40), "cannot be read as video"),
    "page.mp4": (_bytes(b"<html><body>404 Not Found</body></html>"), "cannot be read as video"),
    "noise.webm": (_bytes(random.Random(5).randbytes(50_000)), "cannot be read as video"),
    "cut.mp4": (_cut("h264.mp4", 0.9), "truncated"),
    "cut_early.mp4": (_cut("h264_fragments.mp4", 0.5), "truncated"),
    "cut.webm": (_cut("vp9.webm", 0.6), "truncated"),
    "cut.mkv": (_cut("h264.mkv", 0.6), "truncated"),
    "cut.avi": (_cut("mpeg4.avi", 0.6), "truncated"),
    "cut.flv": (_cut("h264.flv", 0.6), "truncated"),
    "no_index.mp4": (_cut("h264.mp4", 0.4), "truncated"),
    "no_index_name.mp4": (_patched("h264.mp4", b"moov", 0, b"junk"), "the moov box, is missing"),
    "two_gb_of_frames.mp4": (_patched("h264.mp4", b"mdat", -4, TWO_GB), "truncated"),
    "two_gb_of_index.mp4": (_patched("h264.mp4", b"moov", -4, TWO_GB), "truncated"),
    "two_gb_of_sizes.mp4": (_patched("h264.mp4", b"stsz", 12, (0x1FFFFFFF).to_bytes(4, "big")), ""),
    "two_gb_chunk.avi": (_patched("mpeg4.avi", b"movi", -4, TWO_GB[::-1]), "truncated"),
    "wiped_key_frame.mp4": (_wiped, "cannot be decoded"),
    "sound.mp4": (write_audio, "no video stream"),
    "sound_and_cover.mp4": (lambda path: write_with_cover(path, num_frames=0), "no video stream"),
    "raw.h264": (_video("libx264"), "carry no times"),
    "years.mkv": (
        lambda path: write_numbered(path, [0, 40, 10**12], Fraction(1, 1000)),
        "at most 2,000,000 are taken",
    ),
    "pipe.mp4": (_pipe, "got a pipe or device"),
    "folder.mp4": (_folder, "got a folder"),
    "gone.mp4": (lambda path: path, "No such file or directory"),
}


def write_endless(path: Path, num_frames: int = 100_000) -> Path:
    """Write a small VP9 file of many large frames: minutes of decoding for 100 s at 1 frame a second.

    Error-resilient frames depend on no state but the picture before, so one packet serves for all.
    """
    side, time_base = 2048, Fraction(1, 1000)
    options = {"deadline": "realtime", "cpu-used": "8", "error-resilient": "1", "lag-in-frames": "0"}
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libvpx-vp9", rate=1000, options=options)
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        stream.codec_context.thread_count, stream.gop_size = 1, 10**6
        picture = np.full((side, side, 3), 90, dtype=np.uint8)
        packets = []
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, time_base
            packets += stream.encode(frame)
        still = bytes(packets[-1])
        for number in range(num_frames):
            packet = packets[number] if number < len(packets) else av.Packet(still)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = time_base, stream
            output.mux(packet)
    return path


def flipped(data: bytes, seed: int) -> bytes:
    """Return the bytes with one to twenty bits flipped anywhere."""
    rng, damaged = random.Random(seed), bytearray(data)
    for _ in range(rng.randint(1, 20)):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


__all__ = ["BAD", "GOOD", "WHOLE", "flipped", "numbers_on_screen", "write_endless"]
