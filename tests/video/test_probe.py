# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numbered import decode_all, write_audio, write_numbered, write_with_cover
from video_samples import REORDERED_AVI, SAMPLES, TICK, irregular

from ophclip.errors import OphclipError
from ophclip.video import probe

Sample = Callable[[str], Path]


def refusal(path: Path) -> OphclipError:
    with pytest.raises(OphclipError) as caught:
        probe(path)
    assert caught.value.remedy
    assert str(path) in caught.value.message
    return caught.value


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - REORDERED_AVI))
def test_the_times_of_the_packets_are_those_of_the_frames_that_ffmpeg_shows(
    name: str, sample: Sample
) -> None:
    shown = [pts for pts, _ in decode_all(sample(name))]
    assert probe(sample(name)).pts.tolist() == shown


@pytest.mark.parametrize("name", sorted(REORDERED_AVI))
def test_an_avi_that_reorders_frames_shows_them_from_zero_at_a_constant_rate(
    name: str, sample: Sample
) -> None:
    info = probe(sample(name))
    assert info.by_count
    assert info.pts.tolist() == list(range(60))
    assert (info.time_base, info.start, info.duration_s) == (Fraction(1, 25), 0, 2.4)


@pytest.mark.parametrize(
    ("name", "codec", "num_frames", "start_s", "duration_s"),
    [
        ("h264.mp4", "h264", 60, 0, 2.4),
        ("h264.mov", "h264", 60, 0, 2.4),
        ("h264.mkv", "h264", 60, 0, 2.4),
        ("hevc.mp4", "hevc", 60, 0, 2.4),
        ("vp8.webm", "vp8", 60, 0, 2.4),
        ("vp9.webm", "vp9", 60, 0, 2.4),
        ("mpeg4.avi", "mpeg4", 60, 0, 2.4),
        ("h264.ts", "h264", 60, 0.08, 2.4),
        ("h264_fragments.mp4", "h264", 60, 0.08, 2.4),
        ("h264_sound.mkv", "h264", 60, 0, 2.4),
        ("late.mp4", "h264", 60, 2.0, 2.4),
        ("late_sound.mp4", "h264", 60, 0, 4.4),
        ("late_sound.mkv", "h264", 60, 0, 4.4),
        ("cut_before_zero.mp4", "h264", 55, 0, 2.2),
        ("trimmed_start.mp4", "h264", 40, 0, 1.6),
        ("trimmed_end.mp4", "h264", 30, 0, 1.2),
        ("trimmed_sound.mp4", "h264", 25, 0, 1.0),
        ("slides.mkv", "h264", 3, 0, 12.04),
        ("one_frame.mp4", "h264", 1, 0, 0.04),
        ("one_frame.webm", "vp9", 1, 0, 0.04),
    ],
)
def test_codec_count_start_and_duration_are_those_written(
    name: str, codec: str, num_frames: int, start_s: float, duration_s: float, sample: Sample
) -> None:
    info = probe(sample(name))
    assert (info.codec, len(info.pts)) == (codec, num_frames)
    assert info.start_s == pytest.approx(start_s, abs=1e-6)
    assert info.duration_s == pytest.approx(duration_s, abs=1e-6)


def test_a_film_rate_is_exact_where_the_container_can_hold_it(sample: Sample) -> None:
    assert probe(sample("ntsc.mp4")).fps == pytest.approx(24000 / 1001, rel=1e-12)
    assert probe(sample("ntsc.mkv")).fps == pytest.approx(24000 / 1001, rel=1e-3)  # milliseconds only


def test_irregular_times_are_kept(sample: Sample) -> None:
    assert probe(sample("irregular.mkv")).pts.tolist() == irregular(60)


def test_sound_that_starts_earlier_starts_the_file(sample: Sample) -> None:
    info = probe(sample("h264_sound.ts"))
    assert info.start < int(info.pts[0]) * info.time_base


def test_hidden_reference_pictures_are_no_frames(sample: Sample) -> None:
    path = sample("vp8_hidden.webm")
    with av.open(str(path)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 60
    assert probe(path).pts.tolist() == [40 * number for number in range(60) if number % 3 != 2]


@pytest.mark.parametrize(("rotation", "size"), [(0, (160, 96)), (90, (96, 160)), (180, (160, 96))])
def test_the_size_is_as_displayed_when_the_picture_is_turned(
    rotation: int, size: tuple[int, int], tmp_path: Path
) -> None:
    info = probe(write_numbered(tmp_path / "a.mp4", range(3), TICK, size=(160, 96), rotation=rotation))
    assert (info.rotation, info.width, info.height) == (rotation, *size)


def test_a_picture_turned_clockwise_is_counted_counter_clockwise(tmp_path: Path) -> None:
    info = probe(write_numbered(tmp_path / "a.mp4", range(3), TICK, size=(160, 96), rotation=-90))
    assert (info.rotation, info.width, info.height) == (270, 96, 160)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_pixels_that_are_not_square_widen_the_picture(suffix: str, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / f"a.{suffix}", range(9), TICK, aspect=Fraction(4, 3))
    assert (probe(path).width, probe(path).height) == (213, 48)


def test_key_frames_are_those_the_encoder_set(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.webm", range(30), TICK, "libvpx-vp9", gop=10)
    assert probe(path).keyframes.tolist() == [0, 400, 800]


def test_the_path_is_absolute(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sample("vp9.webm")
    monkeypatch.chdir(path.parent)
    assert probe(Path(path.name)).path == path


def test_a_cover_picture_is_not_the_video(tmp_path: Path) -> None:
    info = probe(write_with_cover(tmp_path / "film.mp4", num_frames=10))
    assert (info.codec, info.width, len(info.pts)) == ("h264", 160, 10)


@pytest.mark.parametrize("write", [write_audio, lambda path: write_with_cover(path, num_frames=0)])
def test_sound_alone_is_no_video(write: Callable[[Path], Path], tmp_path: Path) -> None:
    assert "no video stream" in refusal(write(tmp_path / "sound.mp4")).message


def test_a_missing_file_a_folder_and_an_empty_file_are_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert "no such file" in refusal(tmp_path / "missing.mp4").message
    assert "got a folder" in refusal(tmp_path).message
    assert "empty" in refusal(tmp_path / "empty.mp4").message


def test_a_pipe_is_refused_at_once_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "got a pipe or device" in refusal(tmp_path / "pipe.mp4").message


@pytest.mark.parametrize(
    "content",
    [
        b"Dear reader, this is no video.\n" * 40,
        bytes(range(256)) * 16,
        bytes(5000),
        b"\x1a\x45\xdf\xa3",
        b"RIFF",
    ],
)
def test_what_is_no_video_is_refused_whatever_its_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report.mp4"
    path.write_bytes(content)
    error = refusal(path)
    assert "cannot be read as video" in error.message
    assert "truncated" not in error.message


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_file_that_may_not_be_read_is_refused_with_the_reason(closed: str, sample: Sample) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from ophclip.errors import OphclipError\n"
        "from ophclip.video import probe\n"
        "os.getuid() or os.setuid(65534)\n"  # root may read everything
        "try: probe(pathlib.Path(sys.argv[1]))\n"
        "except OphclipError as error: print(error)\n"
    )
    with tempfile.TemporaryDirectory() as name:  # all may enter the folder of all temporary folders
        folder = Path(name) / "videos"
        folder.mkdir()
        path = folder / "secret.mp4"
        path.write_bytes(sample("h264.mp4").read_bytes())
        path.chmod(0 if closed == "file" else 0o644)
        folder.chmod(0 if closed == "folder" else 0o755)
        Path(name).chmod(0o755)
        told = subprocess.check_output([sys.executable, "-c", program, str(path)], text=True)
        folder.chmod(0o755)
    assert told == f"{path}: cannot be read: Permission denied; check its permissions\n"


def test_frames_without_times_are_refused(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "raw.h264", range(10), TICK)
    assert "carry no times" in refusal(path).message


def test_probing_leaves_no_file_open(sample: Sample, tmp_path: Path) -> None:
    def open_files() -> set[str]:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return {str(link.readlink()) for link in links if link.exists()}

    broken = tmp_path / "broken.mp4"
    broken.write_bytes(sample("h264.mp4").read_bytes()[:3000])
    probe(sample("h264.mp4"))
    refusal(broken)
    assert not {str(broken), str(sample("h264.mp4"))} & open_files()


def test_the_arrays_are_ascending_and_typed(sample: Sample) -> None:
    info = probe(sample("h264.ts"))
    assert info.pts.dtype == info.keyframes.dtype == np.int64
    assert (np.diff(info.pts) > 0).all()
    assert (np.diff(info.keyframes) > 0).all()
