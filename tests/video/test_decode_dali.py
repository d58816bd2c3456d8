# SPDX-License-Identifier: Apache-2.0
"""The real DALI pipeline, on a CPU, which decodes VP8, VP9 and MJPEG; and the choice between the decoders."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numbered import hide_every_third, read_number, wipe_packet, write_numbered
from numpy.typing import NDArray
from video_samples import TICK

from ophclip.cache import CacheInput, FrameRows, build, open_cache
from ophclip.errors import OphclipError, UsageError
from ophclip.video import Geometry, VideoInfo, decode_dali, open_source, plan_sampling, probe
from ophclip.video.decode import DaliElsePyav
from ophclip.video.decode_dali import DaliRefusedError, DaliSource
from ophclip.video.decode_pyav import PyavSource

Sample = Callable[[str], Path]
WHOLE = Geometry(48, 160, "stretch")


def pictures(
    decoder: str, info: VideoInfo, fps: float | Fraction, geometry: Geometry = WHOLE
) -> NDArray[np.uint8]:
    source = open_source(decoder, geometry=geometry)
    return np.concatenate(list(source.read(info, plan_sampling(info, fps))))


def numbers(decoder: str, info: VideoInfo, fps: float | Fraction) -> list[int]:
    return [read_number(picture) for picture in pictures(decoder, info, fps)]


def refusal(info: VideoInfo, fps: float = 25) -> DaliRefusedError:
    with pytest.raises(DaliRefusedError) as caught:
        pictures("dali", info, fps)
    assert str(info.path) in caught.value.message
    assert "pyav" in caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    "name",
    [
        "vp8.webm",
        "vp9.webm",
        "vp9_sound.webm",
        "vp9.mp4",
        "mjpeg.avi",
        "irregular.webm",
        "late_sound.webm",
        "one_frame.webm",
        "long_groups.webm",
    ],
)
def test_it_shows_the_frames_that_pyav_shows(name: str, sample: Sample) -> None:
    info = probe(sample(name))
    for fps in (0.5, 7, 25):
        assert numbers("dali", info, fps) == numbers("pyav", info, fps), fps


def test_its_pictures_are_nearly_those_of_pyav(sample: Sample) -> None:
    info = probe(sample("vp9.webm"))
    for geometry in (WHOLE, Geometry(32, 32), Geometry(90, 70, "stretch")):
        dali, pyav = (pictures(decoder, info, 5, geometry).astype(int) for decoder in ("dali", "pyav"))
        assert np.abs(dali - pyav).mean() < 3


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_turned_picture_is_as_upright_as_with_pyav(rotation: int, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", range(9), TICK, "libvpx-vp9", size=(160, 96), rotation=rotation)
    info = probe(path)
    dali, pyav = (pictures(d, info, 25, Geometry(64, 64, "stretch")).astype(int) for d in ("dali", "pyav"))
    assert np.abs(dali - pyav).mean() < 3


def test_pixels_that_are_not_square_are_cut_as_displayed(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mkv", range(9), TICK, "libvpx-vp9", aspect=Fraction(2))
    dali, pyav = (pictures(d, probe(path), 25, Geometry(40, 40)).astype(int) for d in ("dali", "pyav"))
    assert np.abs(dali - pyav).mean() < 3


@pytest.mark.parametrize("batch_size", [1, 7, 16, 1000])
def test_batches_are_full_but_for_the_last(batch_size: int, sample: Sample) -> None:
    info = probe(sample("vp9.webm"))
    source = open_source("dali", geometry=WHOLE, batch_size=batch_size)
    batches = list(source.read(info, plan_sampling(info, 25)))
    full, rest = divmod(60, batch_size)
    assert [len(batch) for batch in batches] == [batch_size] * full + [rest] * (rest > 0)
    assert [read_number(picture) for batch in batches for picture in batch] == list(range(60))


@pytest.mark.parametrize(
    "name",
    ["two words.webm", "naïve 手術 #1 %d.webm", "dots. in the.na me", "no_suffix", "-o 'quoted\".webm"],
)
def test_a_file_may_have_any_name(name: str, sample: Sample, tmp_path: Path) -> None:
    folder = tmp_path / "a folder, ä"
    folder.mkdir()
    path = Path(shutil.copy(sample("vp9.webm"), folder / name))
    assert numbers("dali", probe(path), 5) == list(range(0, 60, 5))


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "mpeg4.avi"])
def test_a_codec_that_needs_a_gpu_is_refused(name: str, sample: Sample) -> None:
    info = probe(sample(name))
    assert f"does not decode {info.codec} on a CPU" in refusal(info).message


def test_an_avi_without_presentation_times_is_refused(sample: Sample) -> None:
    assert "no presentation times" in refusal(probe(sample("mpeg4_reordered.avi"))).message


def test_frames_counted_differently_are_refused(sample: Sample) -> None:
    info = probe(sample("vp8_hidden.webm"))  # DALI counts the pictures that are never shown
    assert "not those of the container's packet times" in refusal(info).message


def test_a_damaged_file_is_refused_and_the_next_one_decodes(sample: Sample, tmp_path: Path) -> None:
    refusal(probe(wipe_packet(sample("vp9.mp4"), tmp_path / "damaged.mp4", 30)))
    assert numbers("dali", probe(sample("vp9.mp4")), 5) == list(range(0, 60, 5))


def test_a_file_that_is_cut_or_gone_after_probing_is_refused(sample: Sample, tmp_path: Path) -> None:
    path = Path(shutil.copy(sample("vp9.webm"), tmp_path))
    info = probe(path)
    path.write_bytes(path.read_bytes()[:2000])
    refusal(info)
    path.unlink()
    refusal(info)


def test_times_that_are_not_those_planned_are_refused(sample: Sample) -> None:
    info = probe(sample("vp9.webm"))
    shifted = dataclasses.replace(info, pts=np.append(info.pts[:1], info.pts[1:] + 5))
    assert "not those of the container's packet times" in refusal(shifted).message


def test_it_leaves_no_temporary_files(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    info = probe(sample("vp9.webm"))
    batches = open_source("dali", geometry=WHOLE, batch_size=4).read(info, plan_sampling(info, 25))
    next(batches)
    assert list(tmp_path.iterdir())
    del batches
    assert not list(tmp_path.iterdir())


def dali_else_pyav() -> DaliElsePyav:
    return DaliElsePyav(DaliSource(WHOLE, device="cpu", batch_size=8), PyavSource(WHOLE, batch_size=8))


def test_the_pair_takes_dali_where_it_can_and_says_so(
    sample: Sample, capsys: pytest.CaptureFixture[str]
) -> None:
    source, info = dali_else_pyav(), probe(sample("vp9.webm"))
    batches = list(source.read(info, plan_sampling(info, 5)))
    assert [read_number(picture) for batch in batches for picture in batch] == list(range(0, 60, 5))
    assert source.used.startswith("dali ")
    assert capsys.readouterr().err == ""


def test_the_pair_takes_pyav_where_dali_refuses_and_says_so(
    sample: Sample, capsys: pytest.CaptureFixture[str]
) -> None:
    source, info = dali_else_pyav(), probe(sample("h264.mp4"))
    batches = list(source.read(info, plan_sampling(info, 5)))
    assert [read_number(picture) for batch in batches for picture in batch] == list(range(0, 60, 5))
    assert source.used.startswith("pyav ")
    assert "taking PyAV" in capsys.readouterr().err
    assert source.version.count("dali") == source.version.count("pyav") == 1


def test_where_dali_gives_up_midway_the_pair_takes_pyav_from_the_start(
    sample: Sample, tmp_path: Path
) -> None:
    info = probe(hide_every_third(sample("vp8.webm"), tmp_path / "late.webm", first=47))
    plan, source = plan_sampling(info, 25), dali_else_pyav()
    batches = source.read(info, plan)
    assert read_number(next(batches)[0]) == 0
    with pytest.raises(DaliRefusedError):
        list(batches)
    again = [read_number(picture) for batch in source.read(info, plan) for picture in batch]
    assert source.used.startswith("pyav ")
    assert again == numbers("pyav", info, 25)


def test_a_cache_holds_all_rows_of_a_video_that_dali_gives_up_midway(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hide_every_third(sample("vp8.webm"), tmp_path / "late.webm", first=47)
    monkeypatch.setattr(build, "source_for", lambda *_, **__: dali_else_pyav())
    report = build.build_cache(
        [CacheInput("late", path)], tmp_path / "c.zarr", encoder=FrameRows(WHOLE), fps=25
    )
    assert report.failed == {}
    cache = open_cache(tmp_path / "c.zarr")
    assert [read_number(picture) for picture in cache["late"]] == numbers("pyav", probe(path), 25)


def test_the_pair_fails_where_both_fail(sample: Sample, tmp_path: Path) -> None:
    info = probe(wipe_packet(sample("vp9.mp4"), tmp_path / "damaged.mp4", 2))
    with pytest.raises(OphclipError, match=r"the frame at 0\.080 s cannot be decoded"):
        list(dali_else_pyav().read(info, plan_sampling(info, 25)))


def test_auto_is_pyav_on_a_cpu_and_the_pair_on_a_gpu() -> None:
    assert isinstance(open_source("auto", geometry=WHOLE), PyavSource)
    assert isinstance(open_source("auto", geometry=WHOLE, device="cuda:0"), DaliElsePyav)
    assert isinstance(open_source("dali", geometry=WHOLE), DaliSource)
    assert isinstance(open_source("pyav", geometry=WHOLE, device="cuda"), PyavSource)


def test_without_dali_auto_is_pyav_and_dali_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ophclip.video.decode", "ophclip.video.decode_dali"):
        monkeypatch.setattr(f"{module}.is_installed", lambda: False)
    assert isinstance(open_source("auto", geometry=WHOLE, device="cuda"), PyavSource)
    with pytest.raises(UsageError, match="not installed") as caught:
        open_source("dali", geometry=WHOLE)
    assert "pip install 'ophclip[gpu]'" in caught.value.remedy


def test_an_unknown_decoder_and_a_batch_of_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown decoder 'decord'"):
        open_source("decord", geometry=WHOLE)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="batch_size must be positive, got 0"):
        open_source("pyav", geometry=WHOLE, batch_size=0)


def test_the_source_names_itself_its_version_and_where_it_decodes() -> None:
    assert decode_dali.is_installed()
    source = open_source("dali", geometry=WHOLE)
    assert source.used == f"dali {source.version}"
    assert source.version.endswith(" cpu")
    assert DaliSource(WHOLE, device="cuda:1", batch_size=1).version.endswith(" gpu")
