# SPDX-License-Identifier: Apache-2.0
"""`ophclip cache build` over good and bad files: what is tried and listed, and which exit code says so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ophclip.cache import open_cache
from ophclip.video import write_video

FRAMES = ("--stream", "frames", "--size", "16", "--device", "cpu")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ophclip.cli.main", "cache", "build", *map(str, arguments), *FRAMES]
    return subprocess.run(command, capture_output=True, text=True)


def report_of(*arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--json", "--quiet")
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    return report | {"code": done.returncode}


def draw(seed: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(4))


def write_bad(folder: Path, count: int) -> list[str]:
    """Write files that no decoder can read, of five kinds; return their ids."""
    whole = write_whole(folder.parent / "whole.mp4", 7).read_bytes()
    contents = [b"", b"no video\n" * 9, bytes(2000), whole[:-200], whole.replace(b"moov", b"junk")]
    names = [f"bad{number:02}" for number in range(count)]
    for number, name in enumerate(names):
        (folder / f"{name}.mp4").write_bytes(contents[number % len(contents)])
    return names


def write_whole(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, draw(seed), 2)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three good files and two bad ones."""
    for number in range(3):
        write_whole(tmp_path / "videos" / f"good{number}.mp4", number)
    write_bad(tmp_path / "videos", 2)
    return tmp_path / "videos"


def test_of_fifty_good_and_twenty_five_bad_files_all_good_ones_are_stored_and_the_bad_ones_listed(
    tmp_path: Path,
) -> None:
    videos, out = tmp_path / "videos", tmp_path / "c.zarr"
    good = [write_whole(videos / f"good{number:02}.mp4", number).stem for number in range(50)]
    bad = write_bad(videos, 25)
    done = run(videos, "--out", out, "--workers", 2)
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert lines[0] == f"{out}: 50 videos stored, 0 were there already, 25 failed"
    assert [line.split(": ")[1] for line in lines[1:]] == bad
    for line, name in zip(lines[1:], bad, strict=True):
        assert line.startswith(f"failed: {name}: {videos}/{name}.mp4: ")
    assert open_cache(out).ids == good
    before = {entry: entry.stat().st_mtime_ns for entry in out.rglob("*")}
    again = run(videos, "--out", out, "--workers", 2)
    assert again.returncode == 3
    assert again.stdout.splitlines()[0] == f"{out}: 0 videos stored, 50 were there already, 25 failed"
    known = [line.replace("failed:", "failed before:", 1) for line in lines[1:]]
    assert again.stdout.splitlines()[1:] == known
    assert "25 failed before and are unchanged: --retry failed tries them again" in again.stderr
    same = {entry: entry.stat().st_mtime_ns for entry in out.rglob("*") if entry.name != "_journal"}
    assert same.items() <= before.items(), "nothing was tried, so nothing was written"


def test_what_failed_is_tried_again_once_its_file_changes(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.zarr"
    assert report_of(folder, "--out", out)["not_retried"] == []
    assert report_of(folder, "--out", out)["not_retried"] == ["bad00", "bad01"]
    write_whole(folder / "bad00.mp4", 9)
    report = report_of(folder, "--out", out)
    assert (report["committed"], report["not_retried"], report["code"]) == (["bad00"], ["bad01"], 3)
    (folder / "bad01.mp4").unlink()
    assert report_of(folder, "--out", out)["code"] == 0


def test_what_failed_is_tried_again_once_it_may_be_read(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.zarr"
    report_of(folder, "--out", out)
    (folder / "bad01.mp4").chmod(0o600)
    assert report_of(folder, "--out", out)["not_retried"] == ["bad00"]


def test_retry_tries_failures_again_all_or_those_of_a_reason(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.zarr"
    failed = report_of(folder, "--out", out)["failed"]
    assert "the file is empty" in failed["bad00"]
    assert report_of(folder, "--out", out, "--retry", "failed")["not_retried"] == []
    assert report_of(folder, "--out", out, "--retry", "failed:File is EMPTY")["not_retried"] == ["bad01"]
    assert report_of(folder, "--out", out, "--retry", "failed:deadline")["not_retried"] == ["bad00", "bad01"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("limit", "stops"), [("1", True), ("2", False), ("39%", True), ("40%", False)])
def test_too_many_failures_stop_the_build_and_say_so(
    limit: str, stops: bool, workers: int, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.zarr"
    done = run(folder, "--out", out, "--max-failures", limit, "--workers", workers)
    assert done.returncode == (1 if stops else 3)
    if stops:
        message, remedy = done.stderr.splitlines()[-2:]
        assert message.startswith(f"error: stopped: 2 of 5 videos failed, {limit} may; most often: ")
        assert "the same command goes on" in remedy
        again = run(folder, "--out", out, "--max-failures", limit)
        assert again.returncode == 3, "known failures count no more"
    assert open_cache(out).ids == ["good0", "good1", "good2"]


def test_the_report_says_how_long_each_stage_worked_and_the_progress_which_is_slowest(
    folder: Path, tmp_path: Path
) -> None:
    report = report_of(folder, "--out", tmp_path / "c.zarr", "--workers", 1)
    assert report["workers"] == 1
    assert set(report["stage_seconds"]) == {"probe", "decode", "encode", "write"}
    assert report["bottleneck"] == max(report["stage_seconds"], key=report["stage_seconds"].get)
    done = run(folder, "--out", tmp_path / "d.zarr")
    assert "; bottleneck " in done.stderr
    for stage in ("probe", "decode", "encode", "write"):
        assert f"{stage} " in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--workers", "-1"], "-1 is not in the range"),
        (["--deadline", "0"], "0.0 is not in the range"),
        (["--retry", "all"], "retry must be failed or failed:REASON, got 'all'"),
        (["--max-failures", "many"], "max failures must be a number or a percentage, got 'many'"),
        (["--max-failures", "120%"], "got '120%'"),
        (["--max-failures", "-1"], "got '-1'"),
        (["--max-failures", "nan%"], "got 'nan%'"),
    ],
)
def test_bad_limits_exit_2_and_make_nothing(
    options: list[str], says: str, folder: Path, tmp_path: Path
) -> None:
    done = run(folder, "--out", tmp_path / "c.zarr", *options)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-2]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "c.zarr").exists()


def test_help_explains_retries_deadlines_and_exit_codes() -> None:
    text = " ".join(run("--help").stdout.split())
    for word in ("--workers", "--deadline", "--retry", "--max-failures", "the exit code is 3"):
        assert word in text
