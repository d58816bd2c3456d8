# SPDX-License-Identifier: Apache-2.0
"""`ophclip cache verify`, `repair`, `ls` and `info` as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ophclip.cache import open_cache
from ophclip.cache.content import content_hash
from ophclip.video import write_video

FRAMES = ("--stream", "frames", "--size", "16", "--device", "cpu", "--quiet")


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ophclip.cli.main", "cache", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def draw(seed: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(12))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos a, b and c of three seconds, one that is none, and the frames cache of all."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "videos").mkdir()
    for seed, name in enumerate("abc"):
        write_video(folder / "videos" / f"{name}.mp4", draw(seed), 4)
    (folder / "videos" / "broken.mp4").write_text("no video")
    options = ("--out", folder / "c.zarr", *FRAMES, "--workers", 0)
    assert run("build", folder / "videos", *options).returncode == 3
    return folder


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original / "c.zarr", tmp_path / "c.zarr"))


def rows_of(path: Path, video_id: str) -> Path:
    return path / "videos" / video_id / "c" / "0" / "0" / "0" / "0"


def damage(path: Path) -> None:
    rows_of(path, "a").write_bytes(b"\1" * rows_of(path, "a").stat().st_size)
    rows_of(path, "b").unlink()


def json_of(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_verify_of_a_whole_cache_exits_0_and_prints_the_content_hash(path: Path) -> None:
    done = run("verify", path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{path}: 3 videos, 0.0 MB in ")
    assert lines[0].endswith(": whole")
    assert lines[1] == f"content hash {content_hash(open_cache(path))}"
    assert "verify: 3 of 3 videos" in done.stderr
    assert "MB/s" in done.stderr


def test_verify_of_a_damaged_cache_exits_4_names_each_item_and_ends_with_the_remedy(path: Path) -> None:
    damage(path)
    done = run("verify", path, "--quiet")
    assert done.returncode == 4
    assert f"damaged: a: rows: {rows_of(path, 'a')}: the rows are not those that" in done.stdout
    assert f"damaged: b: rows: {rows_of(path, 'b')}: No such file or directory" in done.stdout
    assert done.stderr.splitlines() == [
        f"error: {path}: 2 videos are damaged, 2 findings in all",
        f"mend it: ophclip cache repair {path}",
    ]
    assert run("verify", path, "c", "--quiet").returncode == 0
    report = json_of(run("verify", path, "--json", "--quiet"))
    assert report["damaged"] == ["a", "b"]
    assert [(finding["item"], finding["kind"]) for finding in report["findings"]] == [
        ("a", "rows"),
        ("b", "rows"),
    ]
    assert report["content_hash"] is None


def test_repair_mends_and_a_second_one_has_nothing_to_do(path: Path, original: Path) -> None:
    damage(path)
    done = run("repair", path, "--quiet")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "a: extracted anew, byte for byte as committed",
        "b: extracted anew, byte for byte as committed",
        f"{path}: 2 mended, 0 still damaged",
    ]
    assert done.stderr == ""
    assert content_hash(open_cache(path)) == content_hash(open_cache(original / "c.zarr"))
    assert run("verify", path, "--sample", 1, "--quiet").returncode == 0
    again = run("repair", path, "--json", "--quiet")
    assert (again.returncode, json_of(again)["repaired"]) == (0, [])


def test_repair_without_the_video_file_exits_4_and_names_it(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    write_video(video, draw(1), 4)
    path = tmp_path / "c.zarr"
    run("build", video, "--out", path, *FRAMES)
    rows_of(path, "a").unlink()
    video.unlink()
    done = run("repair", path, "--quiet")
    assert done.returncode == 4
    assert f"still damaged: a: its video file {video} is gone: put it back" in done.stdout
    assert done.stderr.startswith(f"error: {path}: 1 items are still damaged")


@pytest.mark.parametrize(
    ("codec", "options"),
    [("h264", ()), ("vp9", ("--decoder", "dali", "--engines", 2, "--precision", "bf16", "--batch-size", 4))],
)
def test_features_are_repaired_with_the_encoder_that_the_cache_names(
    codec: Any, options: tuple[object, ...], tmp_path: Path
) -> None:
    path, video = tmp_path / "c.zarr", tmp_path / "a.mp4"
    write_video(video, draw(1), 4, codec)
    run("build", video, "--out", path, "--device", "cpu", "--quiet", *options)
    key = open_cache(path).provenance["key"]
    assert key["precision"] == ("bf16" if options else "fp32")
    rows = path / "videos" / "a" / "c" / "0" / "0"
    sound = rows.read_bytes()
    rows.write_bytes(sound[:-2])
    size = ("--batch-size", 4) if options else ()
    repaired = run("repair", path, "--device", "cpu", "--workers", 1, *size)
    assert (repaired.returncode, rows.read_bytes()) == (0, sound)
    assert run("verify", path, "--sample", 1, "--device", "cpu", "--quiet").returncode == 0


def test_another_precision_than_that_of_the_cache_is_refused(original: Path, tmp_path: Path) -> None:
    command = ("build", original / "videos" / "a.mp4", "--out", tmp_path / "c.zarr", "--device", "cpu")
    options = ("--workers", 0, "--quiet")
    assert run(*command, *options).returncode == 0
    done = run(*command, *options, "--precision", "bf16")
    assert done.returncode == 2
    assert "precision" in done.stderr


def test_verify_sets_apart_what_it_cannot_check_and_exits_3(tmp_path: Path) -> None:
    video, path = tmp_path / "a.mp4", tmp_path / "c.zarr"
    write_video(video, draw(1), 4)
    run("build", video, "--out", path, *FRAMES)
    video.unlink()
    done = run("verify", path, "--sample", 0.5, "--quiet")
    assert done.returncode == 3
    assert done.stdout.startswith(f"cannot check: a: {video} is gone\n")


@pytest.mark.parametrize("command", ["verify", "repair", "ls", "info"])
def test_a_folder_without_a_cache_exits_2_with_a_remedy(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("build one: ophclip cache build")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["x"], "holds no video 'x'"),
        (["--sample", "2"], "sample must lie in [0, 1], got 2.0"),
        (["--sample", "all"], "'all' is not a valid float"),
    ],
)
def test_verify_refuses_what_it_cannot_do(arguments: list[str], says: str, path: Path) -> None:
    done = run("verify", path, *arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_ls_lists_size_hours_and_source_of_each_video_and_why_others_failed(
    path: Path, original: Path
) -> None:
    videos = json_of(run("ls", path, "--json", "--quiet"))["videos"]
    assert videos[0] == {
        "video_id": "a",
        "state": "stored",
        "frames": 3,
        "hours": round(3 / 3600, 6),
        "bytes": 3 * 16 * 16 * 3,
        "source": str(original / "videos" / "a.mp4"),
        "reason": "",
    }
    assert [(video["video_id"], video["state"]) for video in videos] == [
        ("a", "stored"),
        ("b", "stored"),
        ("c", "stored"),
        ("broken", "failed"),
    ]
    table = run("ls", path, COLUMNS="200").stdout
    assert table.startswith(f"{path}: 4 videos")
    assert any("a" in line and "stored" in line and "0.001" in line for line in table.splitlines())
    assert any("broken" in line and "cannot be read as video" in line for line in table.splitlines())


def test_ls_filters_by_state(path: Path, tmp_path: Path, original: Path) -> None:
    def listed(*options: str, of: Path = path) -> list[str]:
        return [
            video["video_id"] for video in json_of(run("ls", of, "--json", "--quiet", *options))["videos"]
        ]

    assert listed("--failed") == ["broken"]
    assert listed("--stored") == ["a", "b", "c"]
    assert listed("--stale") == []
    videos, other = tmp_path / "videos", tmp_path / "other.zarr"
    shutil.copytree(original / "videos", videos)
    run("build", videos, "--out", other, *FRAMES)
    (videos / "a.mp4").unlink()
    write_video(videos / "b.mp4", draw(9), 4)
    (videos / "c.mp4").touch()
    assert listed("--stale", of=other) == ["a", "b"]
    assert listed("--stale", "--failed", of=other) == ["a", "b", "broken"]


def test_info_names_content_hash_writers_failures_and_provenance(path: Path) -> None:
    facts = json_of(run("info", path, "--json", "--quiet"))
    assert (facts["videos"], facts["failed"], facts["frames"]) == (3, 1, 9)
    assert facts["content_hash"] == content_hash(open_cache(path))
    assert facts["writers"] == {"all": 1, "running": 0}
    assert list(facts["failures"].values()) == [1]
    assert next(iter(facts["failures"])).startswith("cannot be read as video")
    assert (facts["encoder"], facts["geometry"], facts["fps"]) == ("frames", "crop 16x16", 1.0)
    table = run("info", path, COLUMNS="200").stdout
    for text in (facts["content_hash"], "1 x cannot be read as video", "1, 0 of them running"):
        assert text in table
