# SPDX-License-Identifier: Apache-2.0
"""One small video of every kind that has ever confused a decoder, made on demand and once a session."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

from numbered import hide_every_third, remux, trim, write_numbered

TICK = Fraction(1, 25)
CONSTANT = range(60)
LATE = range(50, 110)
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


def irregular(count: int, seed: int = 3) -> list[int]:
    """Return `count` times in milliseconds, 10 to 300 apart."""
    rng = random.Random(seed)
    return [0, *accumulate(rng.randint(10, 300) for _ in range(count - 1))]


def _x264(path: Path, **settings: object) -> Path:
    return write_numbered(path, CONSTANT, TICK, **settings)


def _vp9(path: Path, **settings: object) -> Path:
    return write_numbered(path, CONSTANT, TICK, "libvpx-vp9", **settings)


def _other(codec: str, **settings: object) -> Callable[[Path], Path]:
    return lambda path: write_numbered(path, CONSTANT, TICK, codec, **settings)


def _at(times: range | list[int], time_base: Fraction = TICK, codec: str = "libx264", **settings: object):  # noqa: ANN202
    return lambda path: write_numbered(path, times, time_base, codec, **settings)


def _trimmed(start: int, duration_ms: int, **settings: object) -> Callable[[Path], Path]:
    # B-frames put the first frame at media tick 1024; a frame lasts 512.
    def write(path: Path) -> Path:
        whole = _x264(path.with_name(f"whole-{path.name}"), **settings)
        return trim(whole, path, 1024 + start, duration_ms)

    return write


def _hidden(path: Path) -> Path:
    whole = write_numbered(path.with_name(f"whole-{path.name}"), CONSTANT, TICK, "libvpx", gop=100)
    return hide_every_third(whole, path)


def _cut_stream(path: Path) -> Path:
    return remux(_x264(path.with_name(f"whole-{path.name}")), path, drop=5)


NTSC = [1001 * k for k in range(60)]
NTSC_SETTINGS = {"time_base": Fraction(1, 24000), "rate": Fraction(24000, 1001)}

SAMPLES: dict[str, Callable[[Path], Path]] = {
    "h264.mp4": _x264,
    "h264_sound.mp4": lambda path: _x264(path, audio_s=3),
    "h264_fragments.mp4": lambda path: _x264(path, mux_options=FRAGMENTS),
    "h264.mov": _x264,
    "h264.mkv": _x264,
    "h264_sound.mkv": lambda path: _x264(path, audio_s=3),
    "h264.ts": _x264,
    "h264_sound.ts": lambda path: _x264(path, audio_s=3),
    "h264.flv": _x264,
    "h264.avi": _x264,
    "hevc.mp4": _other("libx265", codec_options={"x265-params": "log-level=none"}),
    "vp8.webm": _other("libvpx"),
    "vp8_hidden.webm": _hidden,
    "vp9.webm": _vp9,
    "vp9_sound.webm": lambda path: _vp9(path, audio_s=3),
    "vp9.mp4": _vp9,
    "mpeg4.avi": _other("mpeg4"),
    "mpeg4_reordered.avi": _other("mpeg4", codec_options={"bf": "2"}),
    "mjpeg.avi": _other("mjpeg", pix_fmt="yuvj420p"),
    "mpeg2.mpg": _other("mpeg2video"),
    "wmv2.wmv": _other("wmv2"),
    "ntsc.mp4": _at(NTSC, **NTSC_SETTINGS),
    "ntsc.mkv": _at(NTSC, **NTSC_SETTINGS),
    "irregular.mp4": _at(irregular(60), Fraction(1, 1000)),
    "irregular.mkv": _at(irregular(60), Fraction(1, 1000)),
    "irregular.webm": _at(irregular(60), Fraction(1, 1000), "libvpx-vp9"),
    "slides.mkv": _at([0, 5000, 12000], Fraction(1, 1000)),
    "late.mp4": _at(LATE),
    "late_sound.mp4": _at(LATE, audio_s=1),
    "late_sound.mkv": _at(LATE, audio_s=1),
    "late_sound.webm": _at(LATE, codec="libvpx-vp9", audio_s=1),
    "late.ts": _at(LATE),
    "cut_before_zero.mp4": _at(CONSTANT, shift=-5),
    "trimmed_start.mp4": _trimmed(20 * 512, 1600),
    "trimmed_end.mp4": _trimmed(0, 1200),
    "trimmed_between_frames.mp4": _trimmed(20 * 512 + 100, 600),
    "trimmed_sound.mp4": _trimmed(10 * 512, 1000, audio_s=3),
    "cut_between_key_frames.ts": _cut_stream,
    "one_frame.mp4": _at([0]),
    "one_frame.mkv": _at([0]),
    "one_frame.ts": _at([0]),
    "one_frame.webm": _at([0], codec="libvpx-vp9"),
    "long_groups.mp4": _at(range(300), gop=100),
    "long_groups.ts": _at(range(300), gop=100),
    "long_groups.mkv": _at(range(300), gop=100),
    "long_groups.webm": _at(range(300), codec="libvpx-vp9", gop=100),
}
REORDERED_AVI = frozenset({"h264.avi", "mpeg4_reordered.avi"})
