# SPDX-License-Identifier: Apache-2.0
"""`ophclip cache pack` and `export` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_cache_made import ROWS, make_cache

from ophclip.cache import open_cache


def run(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ophclip.cli.main", "cache", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=stdin)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("pack") / "c.zarr")


def test_pack_makes_a_cache_once_and_says_so(cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.zarr"
    done = run("pack", cache, "--out", out)
    assert done.returncode == 0
    assert done.stdout == f"{out}: 2 videos, 12 rows, 0.0 MB in 1 shards\n"
    assert "pack: 2 of 2 videos" in done.stderr
    np.testing.assert_array_equal(open_cache(out)["case_a"], ROWS["case_a"])
    again = run("pack", cache, "--out", out, "--json", "--quiet")
    assert (again.returncode, again.stderr) == (0, "")
    assert json.loads(again.stdout)["was_there"] is True


def test_info_and_ls_read_a_packed_cache(cache: Path, tmp_path: Path) -> None:
    run("pack", cache, "--out", tmp_path / "p.zarr")
    facts = json.loads(run("info", tmp_path / "p.zarr", "--json").stdout)
    assert (facts["videos"], facts["frames"]) == (2, 12)
    listed = json.loads(run("ls", tmp_path / "p.zarr", "--json").stdout)["videos"]
    assert {video["video_id"]: video["frames"] for video in listed} == {"case_a": 5, "case_b": 7}


def test_pack_of_damaged_rows_exits_4_and_names_the_video(tmp_path: Path) -> None:
    path = make_cache(tmp_path / "c.zarr")
    chunk = path / "videos" / "case_b" / "c" / "0" / "0"
    chunk.write_bytes(bytes(len(chunk.read_bytes())))
    done = run("pack", path, "--out", tmp_path / "p.zarr")
    assert done.returncode == 4
    assert done.stdout == ""
    message = "error: video 'case_b': the rows are not those that were committed"
    assert message in done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "p.zarr").exists()


def test_build_refuses_a_packed_cache(cache: Path, tmp_path: Path) -> None:
    run("pack", cache, "--out", tmp_path / "p.zarr")
    (tmp_path / "v.mp4").write_text("no video")
    done = run("build", tmp_path / "v.mp4", "--out", tmp_path / "p.zarr", "--stream", "frames")
    assert done.returncode == 2
    assert "is a packed cache, which is only read" in done.stderr


@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_export_writes_the_videos_that_are_named(suffix: str, cache: Path, tmp_path: Path) -> None:
    out, listed = tmp_path / "out", tmp_path / "ids.txt"
    listed.write_text("case_a\n\n")
    done = run("export", cache, "--format", suffix, "--out", out, "--ids", listed)
    assert done.returncode == 0
    assert done.stdout == f"{out}: 1 videos written (0.0 MB of rows), 0 were there already\n"
    assert "export: 1 of 1 videos" in done.stderr
    options = ("--format", suffix, "--out", out, "--ids", "-", "--json")
    both = run("export", cache, *options, stdin="case_b\ncase_a\n")
    report = json.loads(both.stdout)
    assert (report["num_written"], report["num_skipped"]) == (1, 1)
    assert sorted(path.stem for path in out.glob(f"*.{suffix}")) == ["case_a", "case_b"]


def test_export_to_webdataset_counts_its_shards(cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("export", cache, "--format", "webdataset", "--out", out, "--shard-size", 1)
    assert done.stdout == f"{out}: 2 videos written (0.0 MB of rows) in 1 shards, 0 were there already\n"
    assert (out / "shard-000000.tar").exists()


def test_export_of_a_video_that_is_not_there_exits_2(cache: Path, tmp_path: Path) -> None:
    done = run("export", cache, "--format", "npy", "--out", tmp_path / "out", "--id", "case_x")
    assert done.returncode == 2
    assert "holds no video 'case_x'" in done.stderr
    missing = run("export", cache, "--format", "npy", "--out", tmp_path / "out", "--ids", tmp_path / "none")
    assert missing.returncode == 2
    assert missing.stderr.splitlines()[-1] == "name a UTF-8 file of ids"
