# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numbered import decode_all, read_number, wipe_packet, write_numbered
from numpy.typing import NDArray
from video_samples import SAMPLES, TICK

from ophclip.errors import OphclipError
from ophclip.video import Geometry, VideoInfo, decode_pyav, open_source, plan_sampling, probe

Sample = Callable[[str], Path]
WHOLE = Geometry(48, 160, "stretch")
SEEKING_NEVER, SEEKING_ALWAYS = 10**9, 0


def pictures(
    info: VideoInfo, fps: float | Fraction, geometry: Geometry = WHOLE, decoder: str = "pyav"
) -> NDArray[np.uint8]:
    """Return all pictures `[T, H, W, 3]` of a video at `fps`."""
    source = open_source(decoder, geometry=geometry)
    return np.concatenate(list(source.read(info, plan_sampling(info, fps))))


def numbers(info: VideoInfo, fps: float | Fraction) -> list[int]:
    return [read_number(picture) for picture in pictures(info, fps)]


def numbers_on_screen(path: Path, fps: float | Fraction) -> list[int]:
    """Return what FFmpeg shows at every k / fps, found by decoding the whole file and looking."""
    info = probe(path)
    shown = decode_all(path)
    if info.by_count:
        shown = list(enumerate(number for _, number in shown))
    times = [(pts * info.time_base - info.start, number) for pts, number in shown if pts is not None]
    end = info.end_pts * info.time_base - info.start
    seconds = [k / Fraction(fps) for k in range(-(-end * fps // 1))]
    return [([n for t, n in times if t <= second] or [times[0][1]])[-1] for second in seconds]


def openings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the list to which each opening of a file for decoding is added from now on."""
    opened: list[Path] = []
    real = decode_pyav._opened

    def spied(info: VideoInfo, threads: int) -> Any:
        opened.append(info.path)
        return real(info, threads)

    monkeypatch.setattr(decode_pyav, "_opened", spied)
    return opened


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_picture_is_the_one_on_the_screen(name: str, sample: Sample) -> None:
    for fps in (1, 7, 25):
        assert numbers(probe(sample(name)), fps) == numbers_on_screen(sample(name), fps), fps


CONSTANT_RATE = ("h264.mp4", "h264.mkv", "h264.ts", "h264.avi", "mpeg4_reordered.avi", "vp9.webm", "vp9.mp4")


@pytest.mark.parametrize("name", CONSTANT_RATE)
def test_at_25_frames_a_second_row_k_is_frame_k(name: str, sample: Sample) -> None:
    assert numbers(probe(sample(name)), 25) == list(range(60))
    assert numbers(probe(sample(name)), 5) == list(range(0, 60, 5))
    assert numbers(probe(sample(name)), 50) == [k // 2 for k in range(120)]


def test_a_trimmed_mp4_shows_what_the_edit_list_says(sample: Sample) -> None:
    assert numbers(probe(sample("trimmed_start.mp4")), 25) == list(range(20, 60))
    assert numbers(probe(sample("trimmed_end.mp4")), 25) == list(range(30))


def test_before_a_late_start_the_first_picture_stands(sample: Sample) -> None:
    assert numbers(probe(sample("late_sound.mp4")), 5) == [0] * 10 + list(range(0, 60, 5))


@pytest.mark.parametrize(
    "name",
    ["long_groups.mp4", "long_groups.ts", "long_groups.mkv", "long_groups.webm", "mpeg2.mpg", "late.ts"],
)
def test_seeking_finds_its_key_frame_and_gives_the_pictures_of_decoding_straight_through(
    name: str, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = probe(sample(name))
    monkeypatch.setattr(decode_pyav, "SEEK_PAYS_FRAMES", SEEKING_NEVER)
    straight = {fps: pictures(info, fps) for fps in (0.25, 1, 3)}
    monkeypatch.setattr(decode_pyav, "SEEK_PAYS_FRAMES", SEEKING_ALWAYS)
    opened = openings(monkeypatch)
    for fps, expected in straight.items():
        assert (pictures(info, fps) == expected).all()
    assert len(opened) == len(straight), "it falls back"


def test_it_seeks_where_the_samples_are_far_apart_and_only_there(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[int] = []
    seek = decode_pyav._seek
    monkeypatch.setattr(decode_pyav, "_seek", lambda *given: (keys.append(given[2]), seek(*given)))
    info = probe(sample("long_groups.webm"))  # key frames at 0, 4 and 8 s
    source = open_source("pyav", geometry=WHOLE, threads=1)
    for fps, expected in {0.2: [4000, 8000], 1: [4000, 8000], 2: []}.items():
        keys.clear()
        list(source.read(info, plan_sampling(info, fps)))
        assert keys == expected, fps
    keys.clear()
    threaded = open_source("pyav", geometry=WHOLE, threads=20)
    list(threaded.read(info, plan_sampling(info, 1)))
    assert keys == [], "a seek throws away what twenty threads have begun"


@pytest.mark.parametrize("name", sorted(name for name in SAMPLES if "264" in name or "ntsc" in name))
def test_frames_that_no_other_is_made_from_are_left_undecoded_and_change_nothing(
    name: str, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = probe(sample(name))
    with monkeypatch.context() as never:
        never.setattr(decode_pyav, "_can_skip", lambda _: False)
        whole = {fps: pictures(info, fps) for fps in (1, 7, 24)}
    opened = openings(monkeypatch)
    for fps, expected in whole.items():
        assert (pictures(info, fps) == expected).all()
    assert len(opened) == len(whole), "it falls back"


def test_a_third_of_the_frames_or_more_need_no_decoding(sample: Sample) -> None:
    info = probe(sample("long_groups.mp4"))
    counts = []
    for needed in (None, frozenset[int]()):
        with decode_pyav._opened(info, threads=1) as container:
            counts.append(len(list(decode_pyav._decode_from(info, container, None, needed, []))))
    assert counts[0] == 300
    assert counts[1] <= 200


def test_a_frame_that_is_missing_where_others_are_skipped_is_looked_for_without(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = probe(sample("long_groups.mp4"))
    expected = pictures(info, 5)
    monkeypatch.setattr(decode_pyav, "_skip", lambda context, _: setattr(context, "skip_frame", "NONKEY"))
    real, calls = decode_pyav._decode_segment, []

    def spied(*arguments: Any, skips: bool) -> Iterator[Any]:
        calls.append(skips)
        return real(*arguments, skips=skips)

    monkeypatch.setattr(decode_pyav, "_decode_segment", spied)
    assert (pictures(info, 5) == expected).all()
    assert calls == [True, False]


@pytest.mark.parametrize(
    "name", ["long_groups.mp4", "long_groups.ts", "long_groups.webm", "hevc.mp4", "mpeg2.mpg"]
)
def test_key_frames_that_are_none_cost_time_but_change_nothing(
    name: str, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_pyav, "SEEK_PAYS_FRAMES", SEEKING_ALWAYS)
    info = probe(sample(name))
    wrong = dataclasses.replace(info, keyframes=info.pts)
    assert (pictures(wrong, 2) == pictures(info, 2)).all()


def test_a_stream_whose_size_changes_is_scaled_to_one(tmp_path: Path) -> None:
    small = write_numbered(tmp_path / "small.ts", range(30), TICK)
    large = write_numbered(tmp_path / "large.ts", range(40, 70), TICK, size=(320, 96))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    shown = numbers(probe(joined), 25)
    assert shown == [*range(30), *[29] * 8, *range(30)]


def failure(info: VideoInfo, fps: float) -> OphclipError:
    with pytest.raises(OphclipError) as caught:
        pictures(info, fps)
    assert str(info.path) in caught.value.message
    return caught.value


@pytest.mark.parametrize("name", ["vp9.mp4", "mjpeg.avi"])
def test_a_damaged_frame_is_named_by_file_and_second(name: str, sample: Sample, tmp_path: Path) -> None:
    info = probe(wipe_packet(sample(name), tmp_path / name, 30))
    assert "the frame at 1.200 s cannot be decoded" in failure(info, 25).message
    assert numbers(info, 1) == [0, 25, 50]  # which does not need it


def test_a_damaged_frame_of_a_counted_stream_ends_it(sample: Sample, tmp_path: Path) -> None:
    name = "mpeg4_reordered.avi"
    info = probe(wipe_packet(sample(name), tmp_path / name, 30))
    assert "the frame at 2.000 s cannot be decoded" in failure(info, 1).message  # by now miscounted


def test_a_file_that_is_cut_or_gone_after_probing_is_an_error(sample: Sample, tmp_path: Path) -> None:
    path = Path(shutil.copy(sample("vp9.mp4"), tmp_path))
    info = probe(path)
    path.write_bytes(path.read_bytes()[:-20])
    failure(dataclasses.replace(info, pts=info.pts + info.end_pts, end_pts=2 * info.end_pts), 25)
    path.unlink()
    assert "No such file" in failure(info, 25).message


@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
def test_batches_are_full_but_for_the_last(batch_size: int, sample: Sample) -> None:
    info = probe(sample("h264.mp4"))
    source = open_source("pyav", geometry=WHOLE, batch_size=batch_size)
    batches = list(source.read(info, plan_sampling(info, 25)))
    full, rest = divmod(60, batch_size)
    assert [len(batch) for batch in batches] == [batch_size] * full + [rest] * (rest > 0)
    assert [read_number(picture) for batch in batches for picture in batch] == list(range(60))


def test_pictures_are_contiguous_rgb_bytes_of_the_size_asked_for(sample: Sample) -> None:
    info = probe(sample("h264.mp4"))
    batch = next(open_source("pyav", geometry=Geometry(30, 50)).read(info, plan_sampling(info, 5)))
    assert (batch.shape, batch.dtype, batch.flags.c_contiguous) == ((12, 30, 50, 3), np.uint8, True)


def test_giving_up_halfway_closes_the_file(sample: Sample) -> None:
    info = probe(sample("h264.mp4"))

    def is_open() -> bool:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return info.path in {link.readlink() for link in links if link.exists()}

    batches = open_source("pyav", geometry=WHOLE, batch_size=4).read(info, plan_sampling(info, 25))
    next(batches)
    assert is_open()
    del batches
    assert not is_open()


def test_the_source_names_itself_and_its_versions() -> None:
    source = open_source("pyav", geometry=WHOLE)
    assert source.name == "pyav"
    assert av.__version__ in source.version
    assert source.used == f"pyav {source.version}"


@pytest.mark.skipif("OPHCLIP_REAL_MEDIA" not in os.environ, reason="OPHCLIP_REAL_MEDIA names no folder")
def test_real_videos_show_the_pictures_that_ffmpeg_shows() -> None:
    paths = sorted(Path(os.environ["OPHCLIP_REAL_MEDIA"]).glob("*.mp4"))
    assert paths
    for path in paths:
        info = probe(path)
        plan = plan_sampling(info, 3)
        got = iter(pictures(info, 3, Geometry(info.height, info.width)))
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            for frame in container.decode(stream):
                for _ in range(int((plan.pts == frame.pts).sum())):
                    expected = frame.to_ndarray(format="rgb24").astype(int)
                    assert np.abs(next(got).astype(int) - expected).mean() < 1
        assert next(got, None) is None
