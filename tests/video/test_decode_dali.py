# SPDX-License-Identifier: Apache-2.0
"""The real DALI pipeline, on a CPU, which decodes VP8, VP9 and MJPEG; and the choice between the decoders."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numbered import hide_every_third, read_number, wipe_packet, write_numbered
from numpy.typing import NDArray
from video_samples import TICK

from ophclip.cache import CacheInput, FrameRows, build, open_cache
from ophclip.errors import OphclipError, UsageError
from ophclip.video import Geometry, VideoInfo, decode_dali, open_source, plan_sampling, probe
from ophclip.video.decode import DaliElsePyav
from ophclip.video.decode_dali import DaliRefusedError, DaliSource
from ophclip.video.decode_pyav import PyavSource
from ophclip.video.engines import engines_of, num_engines
from ophclip.video.frames import FrameFormat, Normalization

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


def tensors(info: VideoInfo, fps: float, batch_size: int = 8, **options: object) -> list[torch.Tensor]:
    chosen = {"geometry": WHOLE, "frame_format": FrameFormat(as_tensors=True)} | options
    source = open_source("dali", batch_size=batch_size, **chosen)  # type: ignore[arg-type]
    return list(source.read(info, plan_sampling(info, fps)))  # type: ignore[arg-type]


@pytest.mark.parametrize("geometry", [WHOLE, Geometry(31, 47), Geometry(48, 20)])
def test_tensors_hold_the_same_frames_as_arrays(geometry: Geometry, sample: Sample) -> None:
    info = probe(sample("vp9.webm"))
    batches = tensors(info, 25, geometry=geometry)
    assert {(batch.dtype, batch.device.type) for batch in batches} == {(torch.uint8, "cpu")}
    assert np.array_equal(torch.cat(batches).numpy(), pictures("dali", info, 25, geometry))


def test_a_tensor_keeps_its_frames_while_the_pipeline_runs_on_and_when_it_is_gone(sample: Sample) -> None:
    info = probe(sample("vp9.webm"))
    source = open_source("dali", geometry=WHOLE, batch_size=4, frame_format=FrameFormat(as_tensors=True))
    batches = source.read(info, plan_sampling(info, 25))
    kept: list[torch.Tensor] = [next(batches)]  # type: ignore[list-item]
    kept += [next(batches)[1:3]]  # type: ignore[list-item]  # a view alone keeps it too
    copies = [batch.clone() for batch in kept]
    addresses = {batch.data_ptr() for batch in batches}  # type: ignore[union-attr]
    assert addresses.isdisjoint(batch.data_ptr() for batch in kept)
    del batches, source
    gc.collect()
    assert len(tensors(info, 25, batch_size=4)) == 15, "another pipeline, which could take the memory"
    assert all(torch.equal(batch, copy) for batch, copy in zip(kept, copies, strict=True))


def test_tensors_lie_in_the_memory_that_dali_gave(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    as_tensor = decode_dali._as_tensor

    def noted(output: object) -> torch.Tensor:
        given.append(output.as_tensor().data_ptr())  # type: ignore[attr-defined]
        return as_tensor(output)

    monkeypatch.setattr(decode_dali, "_as_tensor", noted)
    info = probe(sample("vp9.webm"))
    assert [batch.data_ptr() for batch in tensors(info, 25)] == given


def test_frames_are_normalised_on_the_way_if_that_is_wanted(sample: Sample) -> None:
    info, normal = probe(sample("vp9.webm")), Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    planes = torch.cat(tensors(info, 25, frame_format=FrameFormat(as_tensors=True, normalization=normal)))
    assert planes.dtype == torch.float16
    pixels = torch.from_numpy(pictures("dali", info, 25)).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (normal.mean, normal.std))
    torch.testing.assert_close(planes.float(), (pixels - mean) / std, atol=2e-3, rtol=1e-3)


def test_a_picture_that_stays_on_the_screen_is_decoded_once_and_repeated(sample: Sample) -> None:
    info = probe(sample("one_frame.webm"))
    plan = plan_sampling(info, 500)
    assert len(plan) > 8
    batches = tensors(info, 500)
    assert sum(map(len, batches)) == len(plan)
    assert max(map(len, batches)) <= 8
    assert {read_number(picture.numpy()) for batch in batches for picture in batch} == {0}


def test_videos_read_together_give_each_the_frames_that_it_gives_alone(
    sample: Sample, tmp_path: Path
) -> None:
    turned = write_numbered(
        tmp_path / "turned.mp4", range(9), TICK, "libvpx-vp9", size=(160, 48), rotation=180
    )
    names = ["vp9.webm", "irregular.webm", "one_frame.webm", "long_groups.webm", "vp9.webm"]
    infos = [probe(sample(name)) for name in names]
    source = open_source("dali", geometry=WHOLE, batch_size=16)
    assert len({source.group_of(info) for info in infos}) == 1
    assert source.group_of(probe(turned)) not in {None, source.group_of(infos[0])}
    together: list[list[NDArray[np.uint8]]] = [[] for _ in infos]
    for video, frames in source.read_together([(info, plan_sampling(info, 7)) for info in infos]):
        assert not any(together[video + 1 :]), "one after another"
        together[video].append(frames)  # type: ignore[arg-type]
    for info, batches in zip(infos, together, strict=True):
        assert np.array_equal(np.concatenate(batches), pictures("dali", info, 7))


def test_a_damaged_file_ends_a_reading_together_after_whole_videos(sample: Sample, tmp_path: Path) -> None:
    good = probe(sample("vp9.mp4"))
    bad = probe(wipe_packet(sample("vp9.mp4"), tmp_path / "damaged.mp4", 30))
    source, seen = open_source("dali", geometry=WHOLE, batch_size=16), list[int]()
    batches = source.read_together([(info, plan_sampling(info, 25)) for info in (good, bad, good)])
    with pytest.raises(DaliRefusedError):
        seen.extend(video for video, frames in batches for _ in frames)
    assert 2 not in seen
    assert seen.count(0) == 60 or 1 not in seen


def test_a_file_that_is_cut_after_probing_ends_a_reading_together(sample: Sample, tmp_path: Path) -> None:
    good, cut = probe(sample("vp9.webm")), Path(shutil.copy(sample("vp9.webm"), tmp_path))
    info = probe(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    source = open_source("dali", geometry=WHOLE, batch_size=16)
    with pytest.raises(DaliRefusedError):
        list(source.read_together([(each, plan_sampling(each, 25)) for each in (good, info)]))


def test_what_dali_does_not_decode_here_is_read_alone(sample: Sample) -> None:
    for name in ("h264.mp4", "mpeg4_reordered.avi"):
        assert open_source("dali", geometry=WHOLE).group_of(probe(sample(name))) is None
    assert open_source("pyav", geometry=WHOLE).group_of(probe(sample("vp9.webm"))) is None


@pytest.mark.parametrize(
    ("gpu", "engines"),
    [("NVIDIA A100-SXM4-80GB", 5), ("NVIDIA H200", 7), ("NVIDIA L40S", 3), ("Tesla T4", 2), ("Voodoo 2", 2)],
)
def test_the_decode_engines_of_a_gpu_are_known_by_its_name(gpu: str, engines: int) -> None:
    assert engines_of(gpu) == engines
    assert num_engines("cpu") == 1


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
