# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from numbered import remux, write_numbered
from video_samples import SAMPLES, TICK

from ophclip.errors import OphclipError
from ophclip.video import probe
from ophclip.video.complete import check_complete

Sample = Callable[[str], Path]


def cut(source: Path, target: Path, size: int) -> Path:
    target.write_bytes(source.read_bytes()[:size])
    return target


def reason_of(path: Path) -> str:
    with pytest.raises(OphclipError) as caught:
        probe(path)
    return caught.value.message


@pytest.fixture(scope="session")
def index_first(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("index") / "first.mp4"
    return remux(sample("h264_sound.mp4"), target, movflags="+faststart")


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_whole_file_is_not_called_truncated(name: str, sample: Sample) -> None:
    check_complete(sample(name))


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mov", "h264_sound.mp4", "h264.mkv", "vp9_sound.webm"])
def test_a_cut_is_found_wherever_it_is(name: str, sample: Sample, tmp_path: Path) -> None:
    size = sample(name).stat().st_size
    for left in (*range(700, size - 1, size // 23), size - 1):
        assert "truncated" in reason_of(cut(sample(name), tmp_path / name, left)), left


def test_a_cut_is_found_where_the_index_comes_first(index_first: Path, tmp_path: Path) -> None:
    size = index_first.stat().st_size
    for left in (*range(700, size - 1, size // 23), size - 1):
        assert "truncated" in reason_of(cut(index_first, tmp_path / "cut.mp4", left)), left


def test_a_cut_is_found_anywhere_within_a_fragment(sample: Sample, tmp_path: Path) -> None:
    whole = sample("h264_fragments.mp4")
    data = whole.read_bytes()
    last = data.rindex(b"moof") - 4
    end = data.rindex(b"mfra") - 4
    for left in range(last + 8, end, 37):
        assert "truncated" in reason_of(cut(whole, tmp_path / "cut.mp4", left)), left


@pytest.mark.parametrize("name", ["mpeg4.avi", "mjpeg.avi", "h264.avi"])
def test_a_cut_within_the_frames_of_an_avi_is_found(name: str, sample: Sample, tmp_path: Path) -> None:
    frames_end = sample(name).read_bytes().index(b"idx1")
    for left in range(700, frames_end, frames_end // 17):
        assert "truncated" in reason_of(cut(sample(name), tmp_path / name, left)), left


@pytest.mark.parametrize("fraction", [0.3, 0.4, 0.95])
def test_a_cut_flash_video_ends_before_its_declared_duration_or_within_a_frame(
    fraction: float, sample: Sample, tmp_path: Path
) -> None:
    whole = sample("h264.flv")
    path = cut(whole, tmp_path / "cut.flv", int(fraction * whole.stat().st_size))
    assert "truncated" in reason_of(path)


def test_the_error_counts_the_bytes_and_says_what_to_do(sample: Sample, tmp_path: Path) -> None:
    whole = sample("h264.mkv")
    size = whole.stat().st_size
    with pytest.raises(OphclipError) as caught:
        probe(cut(whole, tmp_path / "cut.mkv", 2000))
    assert f"2,000 of {size:,} bytes are there" in caught.value.message
    assert caught.value.remedy == "fetch it again"


def test_an_mp4_whose_index_was_never_written_is_truncated(sample: Sample, tmp_path: Path) -> None:
    data = sample("h264.mp4").read_bytes()
    (tmp_path / "crashed.mp4").write_bytes(data[: data.index(b"moov") - 4])
    assert "the moov box, is missing" in reason_of(tmp_path / "crashed.mp4")


def test_what_a_camera_appends_to_an_mp4_is_no_cut(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "camera.mp4"
    whole = sample("h264.mp4").read_bytes()
    for tail in (bytes(5), bytes(64), b"\x00\x00\x00\x03SEFT", struct.pack(">I4s", 10**9, b"free")):
        path.write_bytes(whole + tail)
        assert len(probe(path).pts) == 60


def test_boxes_of_64_bit_size_and_up_to_the_end_of_the_file_are_understood(
    sample: Sample, tmp_path: Path
) -> None:
    path = tmp_path / "large.mp4"
    data = sample("h264.mp4").read_bytes()
    large_hole = struct.pack(">I4sQ", 1, b"free", 1016) + bytes(1000)
    open_end = struct.pack(">I4s", 0, b"free") + bytes(100)
    path.write_bytes(data + large_hole + open_end)
    check_complete(path)
    path.write_bytes(data + struct.pack(">I4sQ", 1, b"mdat", 5_000_000_000) + bytes(1000))
    with pytest.raises(OphclipError, match=f"of at least {len(data) + 5_000_000_000:,} bytes"):
        check_complete(path)


def test_a_live_recording_that_declares_no_size_is_read_to_its_end(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "live.mkv", range(60), TICK, mux_options={"live": "1"})
    segment = path.read_bytes().index(b"\x18\x53\x80\x67") + 4
    assert path.read_bytes()[segment : segment + 8] == b"\x01" + b"\xff" * 7  # RFC 8794: size unknown
    assert len(probe(path).pts) == 60


def test_an_avi_whose_recorder_stopped_halfway_is_read_to_its_end(sample: Sample, tmp_path: Path) -> None:
    data = bytearray(sample("mjpeg.avi").read_bytes())
    movi = data.index(b"movi")
    data[movi - 4 : movi] = b"\xff" * 4
    path = tmp_path / "stopped.avi"
    path.write_bytes(data[: data.index(b"idx1")])
    assert len(probe(path).pts) == 60


def test_a_transport_stream_is_read_as_far_as_it_goes(sample: Sample, tmp_path: Path) -> None:
    whole = sample("h264.ts")
    path = cut(whole, tmp_path / "cut.ts", whole.stat().st_size // 2)
    assert 20 < len(probe(path).pts) < 40


def test_a_still_picture_in_an_mp4_box_is_not_called_truncated(tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    boxes = (b"ftyp", b"heic"), (b"meta", bytes(20)), (b"mdat", bytes(40))
    path.write_bytes(b"".join(struct.pack(">I4s", 8 + len(body), kind) + body for kind, body in boxes))
    check_complete(path)
