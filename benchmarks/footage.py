# SPDX-License-Identifier: Apache-2.0
"""Long H.264 videos in little time: ten seconds are encoded, and their packets repeated.

OPHCLIP_REAL_MEDIA names a folder whose first .mp4 file gives the pictures; without it they are drawn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, RATE = 1280, 720, 25
PIECE_S = 10


def write_long(path: Path, seconds: int, group: int) -> Path:
    """Write H.264 as cameras and web sites do, a key frame every `group` frames, at least ten seconds."""
    piece = _write_piece(path.with_name(f"piece-{path.name}"), group)
    with av.open(str(piece)) as given, av.open(str(path), "w") as output:
        packets = [packet for packet in given.demux(video=0) if packet.size]
        copy = output.add_stream_from_template(given.streams.video[0])
        ticks = round(PIECE_S / packets[0].time_base)
        for turn in range(max(1, seconds // PIECE_S)):
            for packet in packets:
                later = av.Packet(bytes(packet))
                later.pts, later.dts = packet.pts + turn * ticks, packet.dts + turn * ticks
                later.time_base, later.is_keyframe, later.stream = packet.time_base, packet.is_keyframe, copy
                output.mux(later)
    piece.unlink()
    return path


def _write_piece(path: Path, group: int) -> Path:
    options = {"preset": "medium", "crf": "23", "x264-params": "scenecut=0:open-gop=0"}
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", group
        stream.codec_context.thread_count = 1
        for picture in _pictures(PIECE_S * RATE):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def _pictures(count: int) -> Iterator[NDArray[np.uint8]]:
    folder = os.environ.get("OPHCLIP_REAL_MEDIA")
    source = next(iter(sorted(Path(folder).glob("*.mp4"))), None) if folder else None
    pictures = list(_filmed(source)) if source else list(_drawn())
    return (pictures[number % len(pictures)] for number in range(count))


def _filmed(path: Path) -> Iterator[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(container.streams.best("video"))):
            if number == PIECE_S * RATE:
                return
            yield frame.to_ndarray(width=WIDTH, height=HEIGHT, format="rgb24")


def _drawn() -> Iterator[NDArray[np.uint8]]:
    """A texture that drifts under a grain of noise, which costs a decoder what a filmed picture does."""
    rng = np.random.default_rng(5)
    texture = rng.integers(0, 120, (HEIGHT // 8, WIDTH // 8 + 60, 3), dtype=np.uint8)
    for number in range(60):
        coarse = texture[:, number : number + WIDTH // 8].repeat(8, 0).repeat(8, 1)
        yield coarse + rng.integers(0, 24, (HEIGHT, WIDTH, 1), dtype=np.uint8)
