# SPDX-License-Identifier: Apache-2.0
"""Encoders that misbehave, videos that cannot be read, signals: whole videos only, and the build goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_corpus import (
    Statistics,
    attributes,
    build,
    check_visible,
    contents,
    provenance,
    random_rows,
    tree,
    write_clip,
)
from numpy.typing import NDArray

from ophclip.cache import CacheInput, open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.journal import read_failures
from ophclip.errors import OphclipError, UsageError


class Misbehaving(Statistics):
    def __init__(self, rows: Any) -> None:
        super().__init__()
        self._rows = rows

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        right = super().__call__(frames)
        rows: NDArray[Any] = self._rows(right)
        return rows


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (lambda right: right[:, :-1], r"must give float16 \[n, 6\], got float16 \[6, 5\]"),
        (lambda right: right[:, :, None], r"got float16 \[6, 6, 1\]"),
        (lambda right: right.reshape(-1), r"got float16 \[36\]"),
        (lambda right: right[0, 0], r"got float16 \[\]"),
        (lambda right: right.astype(np.float32), r"got float32 \[6, 6\]"),
        (lambda right: right.astype(">f2"), r"got >f2 \[6, 6\]"),
    ],
)
def test_an_encoder_of_another_shape_or_dtype_ends_the_build(
    rows: Any, says: str, clips: list[CacheInput], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        build(clips, tmp_path / "c.zarr", encoder=Misbehaving(rows))
    assert open_cache(tmp_path / "c.zarr").ids == []
    assert [entry.name for entry in (tmp_path / "c.zarr" / "videos").iterdir()] == ["zarr.json"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (lambda right: right * np.float16(np.nan), "must be finite, got inf or nan"),
        (lambda right: right + np.float16(np.inf), "must be finite, got inf or nan"),
        (lambda right: right[:-1], "6 rows were planned, got 5"),
        (lambda right: np.repeat(right, 2, axis=0), "6 rows were planned, got 12"),
    ],
)
def test_rows_that_are_not_finite_or_not_as_many_as_frames_are_a_failure_of_the_video(
    rows: Any, says: str, clips: list[CacheInput], tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    report = build(clips[:1], path, encoder=Misbehaving(rows))
    assert says in report.failed["v0"]
    assert says in read_failures(path)["v0"]
    assert open_cache(path).ids == []
    assert list((path / "videos").glob(".tmp-*")) == []


def test_an_encoder_that_raises_ends_the_build_and_leaves_whole_videos(
    clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    calls = iter(range(3))

    def rows(right: NDArray[Any]) -> NDArray[Any]:
        if next(calls) == 2:
            raise RuntimeError("CUDA out of memory")
        return right

    path = tmp_path / "c.zarr"
    with pytest.raises(RuntimeError, match="out of memory"):
        build(clips, path, encoder=Misbehaving(rows))
    assert check_visible(path, contents(built)) == {"v0", "v1"}
    assert list((path / "videos").glob(".tmp-*")) == []
    build(clips, path)
    assert tree(path) == tree(built)


def test_errors_of_the_rows_pass_through_and_leave_nothing(tmp_path: Path) -> None:
    def rows() -> Iterator[NDArray[Any]]:
        yield random_rows(1, 1)
        raise OphclipError("the video ends here", remedy="none")

    with CacheWriter(tmp_path / "c.zarr", provenance()) as writer:
        with pytest.raises(OphclipError, match="the video ends here"):
            writer.store("a", rows(), attributes("a", 2), source_path="/a", source_mtime_ns=1)
        assert not writer.is_stored("a")
    assert [entry.name for entry in (tmp_path / "c.zarr" / "videos").iterdir()] == ["zarr.json"]


def unreadable_inputs(folder: Path) -> list[CacheInput]:
    whole = write_clip(folder / "whole.mp4", 9)
    (folder / "cut.mp4").write_bytes(whole.read_bytes()[:-2000])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video\n" * 50)
    (folder / "folder.mp4").mkdir()
    names = ("cut", "empty", "text", "folder", "gone")
    return [CacheInput(name, folder / f"{name}.mp4") for name in names]


def test_videos_that_cannot_be_read_are_recorded_and_the_others_stored(
    clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    bad, path = unreadable_inputs(tmp_path), tmp_path / "c.zarr"
    report = build([*bad[:3], *clips, *bad[3:]], path)
    assert report.committed == ["v0", "v1", "v2", "v3"]
    assert set(report.failed) == {"cut", "empty", "text", "folder", "gone"} == set(read_failures(path))
    assert "the file is empty" in report.failed["empty"]
    assert report.failed["gone"] == f"{tmp_path}/gone.mp4: No such file or directory"
    assert contents(path) == contents(built)
    again = build([*bad, *clips], path)
    assert (len(again.skipped), len(again.failed)) == (4, 5)
    write_clip(bad[1].path, 5)
    assert build(bad[1:2], path).committed == ["empty"]
    assert set(read_failures(path)) == {"cut", "text", "folder", "gone"}


def test_a_stored_video_whose_file_is_gone_keeps_its_rows(tmp_path: Path) -> None:
    item = CacheInput("v", write_clip(tmp_path / "v.mp4", 1))
    build([item], tmp_path / "c.zarr")
    item.path.unlink()
    report = build([item], tmp_path / "c.zarr")
    assert "No such file" in report.failed["v"]
    assert open_cache(tmp_path / "c.zarr").num_frames("v") == 6


def test_two_inputs_of_one_id_are_refused_before_anything_is_made(
    clips: list[CacheInput], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="video id 'v0' names 2 inputs"):
        build([clips[0], clips[1], clips[0]], tmp_path / "c.zarr")
    assert not (tmp_path / "c.zarr").exists()


SLOW_DISK = """
import os, sys, time
from ophclip.cli.main import main
fsync = os.fsync
def slow_fsync(descriptor):
    time.sleep(0.04)
    fsync(descriptor)
os.fsync = slow_fsync
main(sys.argv[1:])
"""


def await_path(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    while not any(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("committing", [True, False])
def test_a_signal_ends_a_build_with_130_and_lets_the_commit_in_hand_finish(
    number: signal.Signals, committing: bool, clips: list[CacheInput], tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    files = [str(item.path) for item in clips]
    arguments = ["cache", "build", *files, "--out", str(path), "--stream", "frames", "--size", "16"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_DISK, *arguments, "--fps", "2", "--device", "cpu", "--workers", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # On a slow disk a video's folder is in place for a while before its journal line is.
    await_path(path, "videos/v1" if committing else "videos/.tmp-v1@*", process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-2] == "error: interrupted"
    assert err.splitlines()[-1].startswith("run the same command again to go on")
    assert "Traceback" not in err
    assert open_cache(path).ids == (["v0", "v1"] if committing else ["v0"])
    assert list((path / "videos").glob(".tmp-*")) == []
