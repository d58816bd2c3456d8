# SPDX-License-Identifier: Apache-2.0
"""Sizes and cuts by arithmetic; turning, pixel aspect and colour by decoding real files."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numbered import write_numbered
from numpy.typing import NDArray
from video_samples import TICK

from ophclip.errors import UsageError
from ophclip.video import Geometry, open_source, plan_sampling, probe

SIDES = st.integers(1, 600)


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_crop_covers_the_size_with_the_aspect_kept(
    height: int, width: int, given_w: int, given_h: int
) -> None:
    scaled_w, scaled_h = Geometry(height, width).scaled_size(given_w, given_h)
    assert scaled_w >= width
    assert scaled_h >= height
    assert scaled_w == width or scaled_h == height
    scale = max(Fraction(width, given_w), Fraction(height, given_h))
    assert abs(scaled_w - given_w * scale) <= Fraction(1, 2)
    assert abs(scaled_h - given_h * scale) <= Fraction(1, 2)


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_stretch_takes_the_size_as_it_is(height: int, width: int, given_w: int, given_h: int) -> None:
    assert Geometry(height, width, "stretch").scaled_size(given_w, given_h) == (width, height)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 20), st.integers(0, 20))
def test_the_cut_is_the_centre(height: int, width: int, more_h: int, more_w: int) -> None:
    picture = np.arange((height + more_h) * (width + more_w) * 3).reshape(height + more_h, width + more_w, 3)
    cut = Geometry(height, width).cut(picture)
    assert cut.shape == (height, width, 3)
    assert (cut[0, 0] == picture[more_h // 2, more_w // 2]).all()
    assert np.shares_memory(cut, picture)


def test_a_batch_is_cut_at_once() -> None:
    batch = np.zeros((5, 10, 12, 3), dtype=np.uint8)
    assert Geometry(4, 6).cut(batch).shape == (5, 4, 6, 3)


@pytest.mark.parametrize(("height", "width"), [(0, 224), (224, 0), (-1, -1)])
def test_a_size_must_be_positive(height: int, width: int) -> None:
    with pytest.raises(UsageError, match="must be positive"):
        Geometry(height, width)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="crop or stretch, got 'pad'"):
        Geometry(224, 224, "pad")  # type: ignore[arg-type]


def test_its_name_is_what_a_cache_is_keyed_by() -> None:
    assert str(Geometry(224, 336)) == "crop 224x336"
    assert str(Geometry(360, 640, "stretch")) == "stretch 360x640"


def write_still(path: Path, picture: NDArray[np.uint8], codec: str = "libx264", **settings: object) -> Path:
    """Write a video of one picture."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options={"crf": "5"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        if "rotation" in settings:
            stream.set_display_rotation(settings["rotation"])
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def first_picture(path: Path, geometry: Geometry) -> NDArray[np.uint8]:
    info = probe(path)
    picture: NDArray[np.uint8] = next(
        open_source("pyav", geometry=geometry).read(info, plan_sampling(info, 1))
    )[0]
    return picture


def corner_after_turning(path: Path) -> tuple[int, int]:
    """Return where the MP4's own matrix puts the top left corner: (1 if at the bottom, 1 if at the right)."""
    data = path.read_bytes()
    matrix = struct.unpack_from(">9i", data, data.index(b"tkhd") + 44)
    a, b, _, c, d = matrix[:5]  # ISO/IEC 14496-12, 8.3.2: x' = a x + c y, y' = b x + d y
    x, y = -(a + c), -(b + d)  # of the corner at (-1, -1), the picture's centre being the origin
    return int(y > 0), int(x > 0)


@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
def test_a_turned_picture_is_upright(rotation: int, tmp_path: Path) -> None:
    picture = np.full((96, 160, 3), 30, dtype=np.uint8)
    picture[:48, :80] = 220
    path = write_still(tmp_path / "turned.mp4", picture, rotation=rotation)
    size = (160, 96) if rotation % 180 else (96, 160)
    upright = first_picture(path, Geometry(*size))
    quarters = upright.reshape(2, size[0] // 2, 2, size[1] // 2, 3).mean(axis=(1, 3, 4))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == corner_after_turning(path)


def test_a_crop_of_pixels_that_are_not_square_cuts_as_displayed(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "wide.mp4", [*range(9)], TICK, aspect=Fraction(2))
    info = probe(path)  # coded 160x48, displayed 320x48
    plan = plan_sampling(info, 25)
    cut = next(open_source("pyav", geometry=Geometry(48, 48)).read(info, plan))[5]
    bars = cut.mean(axis=(0, 2)) > 128  # the 48 middle columns of 320: bars 5 and 6 of ten 32 wide
    assert bars.tolist() == [False] * 48
    whole = next(open_source("pyav", geometry=Geometry(48, 320)).read(info, plan))[5]
    lit = (whole.mean(axis=(0, 2)) > 128).reshape(10, 32).mean(axis=1).round()
    assert lit.tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 1]  # five


def rgb_of(y: int, u: int, v: int, red: float, blue: float, *, is_full_range: bool) -> list[float]:
    """Return the colour by the definition, ITU-R BT.601, BT.709 or BT.2020 by the weights of red and blue."""
    luma, chroma = ((y, 255) if is_full_range else (y - 16, 219)), (255 if is_full_range else 224)
    bright, cb, cr = luma[0] / luma[1], (u - 128) / chroma, (v - 128) / chroma
    r, b = bright + 2 * (1 - red) * cr, bright + 2 * (1 - blue) * cb
    g = (bright - red * r - blue * b) / (1 - red - blue)
    return [255 * r, 255 * g, 255 * b]


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
@pytest.mark.parametrize("is_full_range", [False, True])
@pytest.mark.parametrize(
    ("space", "red", "blue"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)]
)
def test_colours_are_those_the_file_declares(
    codec: str, is_full_range: bool, space: int, red: float, blue: float, tmp_path: Path
) -> None:
    path = tmp_path / "flat.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame(64, 64, "yuv420p")
        for plane, value in zip(frame.planes, (90, 100, 170), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        for tagged in (stream.codec_context, frame):
            tagged.colorspace, tagged.color_range = space, 2 if is_full_range else 1
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    colour = first_picture(path, Geometry(32, 32)).mean(axis=(0, 1))
    expected = rgb_of(90, 100, 170, red, blue, is_full_range=is_full_range)
    assert colour.tolist() == pytest.approx(expected, abs=3)
