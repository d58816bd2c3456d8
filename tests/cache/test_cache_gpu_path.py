# SPDX-License-Identifier: Apache-2.0
"""What a build does with a GPU, on VP9 and DALI's CPU decoder: tensors, files together and side by side."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_corpus import FPS, GEOMETRY, Statistics, build, contents, draw, frame_rows, tree
from numpy.typing import NDArray
from odd_media import write_endless
from tensor_encoders import TensorStatistics

from ophclip.cache import CacheInput, encoder, open_cache
from ophclip.cache.decoding import MAX_TOGETHER
from ophclip.video import BATCH_SIZE, FrameFormat, write_video
from ophclip.video.decode_dali import DaliSource

from numbered import wipe_packet  # isort: skip (odd_media makes it importable)

OPTIONS: dict[str, Any] = {"decoder": "dali", "encoder": TensorStatistics(), "fills_batches": True}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[CacheInput]:
    """Twelve videos of one to six seconds, all but the last of one size."""
    folder = tmp_path_factory.mktemp("vp9")
    for number in range(12):
        size = 48 if number == 11 else 32
        frames = draw(number, FPS * (1 + number % 6))
        write_video(folder / f"v{number:02}.mp4", (np.resize(f, (size, size, 3)) for f in frames), FPS, "vp9")
    return [CacheInput(path.stem, path) for path in sorted(folder.glob("*.mp4"))]


@pytest.fixture(scope="module")
def expected(clips: list[CacheInput], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of `clips` from a build that takes them one after another, as arrays."""
    path = tmp_path_factory.mktemp("expected") / "c.zarr"
    build(clips, path, decoder="dali", encoder=Statistics())
    return path


def equal(path: Path, other: Path) -> bool:
    """Whether two caches hold the same but for the last bits of float32, which float16 rounds off."""
    if set(open_cache(path)) != set(open_cache(other)):
        return False
    return all(
        np.allclose(open_cache(path)[name], open_cache(other)[name], rtol=2e-3, atol=0.1)
        and np.array_equal(open_cache(path).times(name), open_cache(other).times(name))
        for name in open_cache(path)
    )


@pytest.fixture
def goes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many videos each pipeline was made for."""
    counted: list[int] = []
    read_together = DaliSource.read_together

    def noted(self: DaliSource, videos: Any) -> Iterator[Any]:
        counted.append(len(videos))
        return read_together(self, videos)

    monkeypatch.setattr(DaliSource, "read_together", noted)
    return counted


@pytest.mark.parametrize("engines", [1, 3])
@pytest.mark.parametrize("batch_size", [5, 64])
def test_side_by_side_and_together_they_get_the_rows_that_they_get_alone(
    engines: int, batch_size: int, clips: list[CacheInput], expected: Path, goes: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    report = build(clips, path, engines=engines, batch_size=batch_size, **OPTIONS)
    assert (report.committed, report.failed) == ([item.video_id for item in clips], {})
    assert equal(path, expected)
    assert sum(goes) == 12
    assert len(goes) < 12, "short videos share a pipeline"
    assert max(goes) <= MAX_TOGETHER


@pytest.mark.parametrize("workers", [0, 1])
def test_the_bytes_do_not_depend_on_engines_and_workers(
    workers: int, clips: list[CacheInput], tmp_path: Path
) -> None:
    for engines in (1, 4):
        build(clips, tmp_path / f"{engines}.zarr", engines=engines, workers=workers, **OPTIONS)
    assert tree(tmp_path / "1.zarr") == tree(tmp_path / "4.zarr")


@pytest.mark.parametrize("engines", [1, 3])
@pytest.mark.parametrize("workers", [0, 1])
def test_broken_files_fail_alone_and_the_rest_of_their_go_comes_through(
    engines: int, workers: int, clips: list[CacheInput], expected: Path, tmp_path: Path
) -> None:
    inputs = list(clips)
    for place, name in ((1, "wiped"), (4, "first"), (6, "last")):
        packet = {"wiped": 4, "first": 0, "last": 10}[name]
        wipe_packet(clips[2].path, tmp_path / f"{name}.mp4", packet)
        inputs.insert(place, CacheInput(name, tmp_path / f"{name}.mp4"))
    path = tmp_path / "c.zarr"
    report = build(inputs, path, engines=engines, workers=workers, **OPTIONS)
    assert sorted(report.failed) == ["first", "last", "wiped"]
    for name, reason in report.failed.items():
        assert reason.startswith(f"{tmp_path / name}.mp4: DALI cannot decode it: ")
    assert equal(path, expected)


def test_a_file_that_decodes_for_ever_fails_alone_though_others_share_its_go(
    clips: list[CacheInput], expected: Path, tmp_path: Path
) -> None:
    endless = write_endless(tmp_path / "endless.webm", 20_000)
    like = [CacheInput(f"like{n}", write_endless(tmp_path / f"like{n}.webm", 4)) for n in range(2)]
    inputs = [CacheInput("endless", endless), *like, *clips]  # the next two are there while it is gathered
    report = build(inputs, tmp_path / "c.zarr", engines=2, workers=1, deadline_s=4, **OPTIONS)
    assert report.failed == {"endless": f"{endless}: deadline of 4 s passed"}
    assert len(report.committed) == 14


def test_a_file_that_changes_while_it_is_read_fails_alone(
    clips: list[CacheInput], expected: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed.mp4"
    shutil.copy(clips[5].path, changed)

    class Touching(TensorStatistics):
        def __call__(self, frames: Any) -> NDArray[Any]:
            with changed.open("ab") as file:
                file.write(b"\0")
            return super().__call__(frames)

    inputs = [clips[0], CacheInput("changed", changed), *clips[1:]]
    options = OPTIONS | {"encoder": Touching(), "batch_size": 2}
    report = build(inputs, tmp_path / "c.zarr", engines=1, **options)
    assert list(report.failed) == ["changed"]
    assert "the file changed while it was read" in report.failed["changed"]
    assert equal(tmp_path / "c.zarr", expected)


def test_what_dali_refuses_is_taken_by_pyav_and_never_shares_a_batch_with_it(
    clips: list[CacheInput], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ophclip.video.decode.decodes_on_gpu", lambda decoder, _: decoder == "auto")
    h264 = tmp_path / "h264.mp4"
    write_video(h264, draw(9, 8), FPS)
    inputs = [*clips[:3], CacheInput("h264", h264), *clips[3:6]]
    path, seen = tmp_path / "c.zarr", list[type]()

    class Noting(TensorStatistics):
        def __call__(self, frames: Any) -> NDArray[Any]:
            seen.append(type(frames))
            return super().__call__(frames)

    report = build(inputs, path, **OPTIONS | {"decoder": "auto", "encoder": Noting(), "engines": 2})
    assert report.failed == {}
    assert set(seen) == {np.ndarray, torch.Tensor}
    decoders = {name: open_cache(path).attributes(name)["decoder"][:4] for name in open_cache(path)}
    assert decoders == {item.video_id: "dali" for item in clips[:6]} | {"h264": "pyav"}
    alone = tmp_path / "alone.zarr"
    build([CacheInput("h264", h264)], alone, decoder="pyav", encoder=TensorStatistics())
    assert contents(path)["h264"] == contents(alone)["h264"]


def test_frames_that_are_stored_as_they_are_come_as_arrays_one_video_at_a_time(
    clips: list[CacheInput], tmp_path: Path
) -> None:
    assert encoder.side_by_side(frame_rows(), "dali", "cuda", engines=7) == 1
    report = build(clips[:3], tmp_path / "c.zarr", decoder="dali", encoder=frame_rows(), engines=7)
    assert report.failed == {}
    assert open_cache(tmp_path / "c.zarr")["v00"].shape == (2, 16, 16, 3)


@pytest.mark.parametrize(
    ("decoder", "device", "engines", "workers", "lanes"),
    [
        ("pyav", "cuda", None, 1, 1),
        ("auto", "cpu", None, 1, 1),
        ("dali", "cpu", None, 2, 1),
        ("auto", "cpu", 4, 1, 4),
        ("auto", "cuda:0", 7, 2, 4),
        ("auto", "cuda:0", 1, 2, 1),
    ],
)
def test_engines_are_shared_out_among_the_workers_of_a_device(
    decoder: Any, device: str, engines: int | None, workers: int, lanes: int
) -> None:
    assert encoder.side_by_side(Statistics(), decoder, device, engines, workers) == lanes


def test_a_source_gives_an_encoder_what_it_says_that_it_takes() -> None:
    class Plain(Statistics):
        pass

    for made, as_tensors in ((Plain(), False), (TensorStatistics(), True)):
        source = encoder.source_for(made, "dali", "cpu")
        assert isinstance(source, DaliSource)
        assert (source.geometry, source.batch_size) == (GEOMETRY, BATCH_SIZE)
        assert source._format == FrameFormat(as_tensors)
    assert (encoder.default_batch_size("cuda:1"), encoder.default_batch_size("cpu")) == (256, BATCH_SIZE)
