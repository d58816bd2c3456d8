# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numbered import decode_all, draw
from numpy.typing import NDArray

from ophclip.errors import OphclipError, UsageError
from ophclip.video import probe, write_video


def frames(count: int = 20, width: int = 160, height: int = 48) -> list[NDArray[np.uint8]]:
    return [draw(number, width, height) for number in range(count)]


def refusal(path: Path, images: Any, fps: float | Fraction = 25, **settings: Any) -> OphclipError:
    with pytest.raises(OphclipError) as caught:
        write_video(path, images, fps, **settings)
    assert caught.value.remedy
    assert not path.parent.exists() or not list(path.parent.iterdir())
    return caught.value


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *((suffix, "h264") for suffix in (".mp4", ".m4v", ".mov", ".mkv", ".ts", ".MP4")),
        *((suffix, "vp9") for suffix in (".webm", ".mkv", ".mp4")),
    ],
)
def test_frames_come_back_in_order_at_the_rate(suffix: str, codec: Any, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    assert write_video(path, frames(), 12.5, codec) == 20
    info = probe(path)
    assert (info.codec, info.width, info.height, info.fps) == (codec, 160, 48, 12.5)
    assert [number for _, number in decode_all(path)] == list(range(20))
    assert list(tmp_path.iterdir()) == [path]


def test_a_film_rate_is_written_exactly(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames(), Fraction(24000, 1001))
    info = probe(tmp_path / "a.mp4")
    assert Fraction(int(info.pts[1])) * info.time_base == Fraction(1001, 24000)


NOISE = np.random.default_rng(0).integers(0, 256, (8, 32, 48, 3), dtype=np.uint8)
WRITE_NOISE = """
import sys, pathlib, numpy as np
from ophclip.video import write_video
noise = np.random.default_rng(0).integers(0, 256, (8, 32, 48, 3), dtype=np.uint8)
for path in map(pathlib.Path, sys.argv[1:]):
    write_video(path, noise, 25, "vp9" if path.suffix == ".webm" else "h264")
"""


def test_the_same_frames_give_the_same_bytes_in_another_process_too(tmp_path: Path) -> None:
    paths = [tmp_path / f"a{suffix}" for suffix in (".mp4", ".mkv", ".webm", ".ts")]
    subprocess.run([sys.executable, "-c", WRITE_NOISE, *map(str, paths)], check=True)
    for path in paths:
        before = path.read_bytes()
        write_video(path, NOISE, 25, "vp9" if path.suffix == ".webm" else "h264")
        assert path.read_bytes() == before, path.suffix


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "h264"), ("a.webm", "vp9")])
def test_key_frames_come_at_the_interval_and_quality_costs_bytes(
    name: str, codec: Any, tmp_path: Path
) -> None:
    path, images = tmp_path / name, [np.full((48, 160, 3), 90, dtype=np.uint8)] * 40
    write_video(path, images, 25, codec, keyframe_interval=16)
    assert len(probe(path).keyframes) == 3
    sizes = []
    for quality in (10, None, 55 if codec == "vp9" else 45):
        write_video(path, NOISE, 25, codec, quality=quality)
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes, reverse=True)


def test_an_index_at_the_front_lets_a_browser_seek_at_once(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames(), 25)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_vp9_takes_odd_sides(tmp_path: Path) -> None:
    write_video(tmp_path / "a.webm", frames(3, 161, 49), 25, "vp9")
    assert (probe(tmp_path / "a.webm").width, probe(tmp_path / "a.webm").height) == (161, 49)


def test_frames_that_are_views_are_taken_as_they_look(tmp_path: Path) -> None:
    mirrored = [image[:, ::-1][:, ::-1] for image in frames()]
    write_video(tmp_path / "a.mp4", iter(mirrored), 25)
    assert [number for _, number in decode_all(tmp_path / "a.mp4")] == list(range(20))


def test_nothing_is_seen_of_a_video_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"

    def watched() -> Iterator[NDArray[np.uint8]]:
        for image in frames():
            assert not path.exists()
            yield image

    write_video(path, watched(), 25)
    assert path.exists()


def test_frames_that_fail_midway_leave_nothing_and_keep_what_was_there(tmp_path: Path) -> None:
    def failing() -> Iterator[NDArray[np.uint8]]:
        yield from frames(10)
        raise RuntimeError("the painter fainted")

    path = tmp_path / "a.mp4"
    with pytest.raises(RuntimeError, match="fainted"):
        write_video(path, failing(), 25)
    assert not list(tmp_path.iterdir())
    write_video(path, frames(), 25)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="fainted"):
        write_video(path, failing(), 25)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_no_frames_are_no_video(tmp_path: Path) -> None:
    assert "at least one frame" in refusal(tmp_path / "a.mp4", []).message


@pytest.mark.parametrize("name", ["a", "a.gif", "a.mp4.zip"])
def test_the_suffix_must_name_a_container(name: str, tmp_path: Path) -> None:
    error = refusal(tmp_path / name, frames())
    assert isinstance(error, UsageError)
    assert ".mp4" in error.remedy


def test_an_unknown_codec_and_one_the_container_cannot_hold_are_refused(tmp_path: Path) -> None:
    assert "did you mean 'h264'" in refusal(tmp_path / "a.mp4", frames(), codec="h265").remedy
    assert "WebM cannot hold H.264" in refusal(tmp_path / "a.webm", frames()).message


@pytest.mark.parametrize("fps", [0, -25, float("nan"), float("inf"), 1e-9])
def test_a_rate_must_be_positive_and_finite(fps: float, tmp_path: Path) -> None:
    assert "fps must be a positive number" in refusal(tmp_path / "a.mp4", frames(), fps).message


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((48, 160), dtype=np.uint8),
        np.zeros((48, 160, 4), dtype=np.uint8),
        np.zeros((48, 160, 3), dtype=np.float32),
        np.zeros((0, 0, 3), dtype=np.uint8),
    ],
    ids=["grey", "alpha", "float", "empty"],
)
def test_what_is_no_picture_is_refused(image: NDArray[Any], tmp_path: Path) -> None:
    assert "uint8 [H, W, 3]" in refusal(tmp_path / "a.mp4", [image]).message


@pytest.mark.parametrize("size", [(161, 48), (160, 49)])
def test_h264_needs_even_sides(size: tuple[int, int], tmp_path: Path) -> None:
    assert "even sides, got" in refusal(tmp_path / "a.mp4", frames(2, *size)).message


def test_a_frame_of_another_size_ends_the_video_and_leaves_nothing(tmp_path: Path) -> None:
    error = refusal(tmp_path / "a.mp4", [*frames(5), *frames(1, 320, 48)])
    assert "of one size, got uint8 [48, 320, 3]" in error.message


@pytest.mark.parametrize(("quality", "width"), [(-5, 160), (None, 40_000)])
def test_what_the_encoder_does_not_take_is_a_usage_error(
    quality: int | None, width: int, tmp_path: Path
) -> None:
    images = [np.zeros((2, width, 3), dtype=np.uint8)]
    error = refusal(tmp_path / "a.mp4", images, quality=quality)
    assert isinstance(error, UsageError)
    assert f"FFmpeg refuses {width}x2, fps 25, quality {quality}" in error.message


def test_a_missing_folder_is_an_error_with_the_reason(tmp_path: Path) -> None:
    error = refusal(tmp_path / "missing" / "a.mp4", frames())
    assert "No such file or directory" in error.message
