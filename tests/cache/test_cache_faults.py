# SPDX-License-Identifier: Apache-2.0
"""Full disks, folders that cannot be written, encoders that misbehave, unreadable videos, signals."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_children import finish, start
from cache_corpus import (
    Statistics,
    attributes,
    build,
    check_visible,
    contents,
    provenance,
    random_rows,
    store,
    tree,
    write_cache,
    write_clip,
)
from numpy.typing import NDArray

from ophclip.cache import CacheInput, open_cache
from ophclip.cache.commit import CacheWriter, StorageError
from ophclip.cache.journal import read_failures
from ophclip.errors import OphclipError, UsageError

PAGE = 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 pages, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={64 * PAGE}", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def leave_free(disk: Path, pages: int) -> None:
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    state = os.statvfs(disk)
    filler.write_bytes(b"x" * ((state.f_bavail - pages) * state.f_frsize))


def test_a_disk_that_fills_at_any_step_commits_nothing_and_the_next_run_completes(small_disk: Path) -> None:
    path = write_cache(small_disk / "c.zarr", {"a": random_rows(1, 3)})
    rows = random_rows(2, 900)  # three pages of rows, four of metadata, one of journal
    for pages in range(6):
        leave_free(small_disk, pages)
        with pytest.raises(StorageError) as caught, CacheWriter(path, provenance()) as writer:
            store(writer, "b", rows)
        assert caught.value.message == f"cannot write {path}: No space left on device"
        assert "run the same command again" in caught.value.remedy
        assert open_cache(path).ids == ["a"]
        assert list((path / "videos").glob(".tmp-*")) == []
    leave_free(small_disk, 16)
    write_cache(path, {"b": rows})
    assert open_cache(path).ids == ["a", "b"]
    np.testing.assert_array_equal(open_cache(path)["b"], rows)


def store_with_small_files(path: Path, limit: int, outcome: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with CacheWriter(path, provenance()) as writer:
            store(writer, "b", random_rows(2, 900))
    except StorageError as error:
        os.write(os.open(outcome, os.O_CREAT | os.O_WRONLY), error.message.encode())


@pytest.mark.parametrize("limit", [100, 5000, 10_900])
def test_a_file_that_may_not_grow_is_a_storage_error(limit: int, tmp_path: Path) -> None:
    """The rows, of 10,800 bytes, or the metadata, which is longer, do not fit."""
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 3)})
    assert finish(start(store_with_small_files, path, limit, tmp_path / "outcome")) == 0
    assert (tmp_path / "outcome").read_text() == f"cannot write {path}: File too large"
    assert open_cache(path).ids == ["a"]
    assert list((path / "videos").glob(".tmp-*")) == []
    write_cache(path, {"b": random_rows(2, 900)})
    assert open_cache(path)["b"].tobytes() == random_rows(2, 900).tobytes()


def store_without_rights(folder: Path, outcome: Path) -> None:
    descriptor = os.open(outcome, os.O_CREAT | os.O_WRONLY)
    os.chdir(folder)
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)  # root may write everywhere
    try:
        CacheWriter(Path("c.zarr"), provenance()).close()
    except StorageError as error:
        os.write(descriptor, str(error).encode())


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_may_not_be_written_is_a_storage_error(exists: bool, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    path = folder / "c.zarr"
    if exists:
        write_cache(path, {"a": random_rows(1, 3)})
        (path / "_journal").chmod(0o555)
    folder.chmod(0o555)
    assert finish(start(store_without_rights, folder, tmp_path / "outcome")) == 0
    says = (tmp_path / "outcome").read_text()
    assert says.startswith("cannot write c.zarr: Permission denied; ")
    assert "mend the permissions" in says
    folder.chmod(0o755)
    assert path.exists() == exists


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
        [sys.executable, "-c", SLOW_DISK, *arguments, "--fps", "2", "--device", "cpu"],
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
