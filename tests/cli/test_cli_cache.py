# SPDX-License-Identifier: Apache-2.0
"""`ophclip cache` as a user runs it: what it prints where, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ophclip.cache import open_cache
from ophclip.corpus import Corpus, Video, write_corpus
from ophclip.video import write_video

FRAMES = ("--stream", "frames", "--size", "16", "--device", "cpu")


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ophclip.cli.main", "cache", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def draw(seed: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(12))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two silent videos of three seconds."""
    folder = tmp_path_factory.mktemp("corpus")
    videos = {}
    for seed, name in enumerate(("case_a", "case_b")):
        write_video(folder / f"{name}.mp4", draw(seed), 4)
        videos[name] = Video(name, folder / f"{name}.mp4", "silent", "", "", "train")
    write_corpus(Corpus(folder, videos, {}), folder)
    return folder


@pytest.fixture(scope="module")
def partial(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frames cache of the corpus, in which a third video failed."""
    folder = tmp_path_factory.mktemp("partial")
    (folder / "broken.mp4").write_text("no video")
    done = run("build", corpus, folder / "broken.mp4", "--out", folder / "c.zarr", *FRAMES)
    assert done.returncode == 3
    return folder / "c.zarr"


def error_lines(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """The message and the remedy, which are all that an error prints."""
    assert done.stdout == ""
    message, remedy = done.stderr.splitlines()[-2:]
    assert message.startswith("error: ")
    assert "Traceback" not in done.stderr
    return message.removeprefix("error: "), remedy


def test_build_stores_and_a_second_one_skips(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.zarr"
    done = run("build", corpus, "--out", out, *FRAMES)
    assert done.returncode == 0
    assert done.stdout == f"{out}: 2 videos stored, 0 were there already, 0 failed\n"
    assert "cache: 2 of 2 videos" in done.stderr
    assert open_cache(out)["case_a"].shape == (3, 16, 16, 3)
    again = run("build", corpus, "--out", out, *FRAMES)
    assert again.returncode == 0
    assert again.stdout == f"{out}: 0 videos stored, 2 were there already, 0 failed\n"


def test_build_reports_json_and_exits_3_where_a_video_failed(corpus: Path, tmp_path: Path) -> None:
    out, broken = tmp_path / "c.zarr", tmp_path / "broken.mp4"
    broken.write_text("no video")
    done = run("build", corpus, broken, "--out", out, "--fps", 2, "--json", "--quiet", *FRAMES)
    assert done.returncode == 3
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["committed"] == ["case_a", "case_b"]
    assert (report["out"], report["encoder"], report["fps"]) == (str(out), "frames", 2.0)
    assert (report["skipped"], report["num_frames"], report["decoder"]) == ([], 12, "pyav")
    assert list(report["failed"]) == ["broken"]
    assert str(broken) in report["failed"]["broken"]


def test_build_lists_what_failed(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    done = run("build", corpus, tmp_path / "empty.mp4", "--out", tmp_path / "c.zarr", *FRAMES)
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        f"{tmp_path}/c.zarr: 2 videos stored, 0 were there already, 1 failed",
        f"failed: empty: {tmp_path}/empty.mp4: the file is empty",
    ]


def test_build_encodes_features_with_the_encoder_of_this_project(corpus: Path, tmp_path: Path) -> None:
    done = run("build", corpus, "--out", tmp_path / "c.zarr", "--device", "cpu", "--batch-size", 2)
    assert done.returncode == 0
    cache = open_cache(tmp_path / "c.zarr")
    assert cache.provenance["encoder"] == "tiny"
    assert cache["case_a"].shape[0] == 3
    assert cache["case_a"].dtype == np.float16


def test_a_name_that_is_no_text_fails_by_itself(tmp_path: Path) -> None:
    Path(str(tmp_path / "caf\udce9.mp4")).write_text("no video")
    out = tmp_path / "c.zarr"
    done = run("build", tmp_path, "--out", out, *FRAMES, PYTHONIOENCODING="utf-8:strict")
    assert done.returncode == 3
    assert r"failed: caf\xe9: " in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "says", "remedy"),
    [
        (["--fps", "0"], "fps must be a positive number, got 0.0", "pass frames per second, as 1.0"),
        (["--fps", "nan"], "fps must be a positive number, got nan", "pass frames per second, as 1.0"),
        (["--fps", "fast"], "'fast' is not a valid float", "see ophclip cache build --help"),
        (["--batch-size", "0"], "0 is not in the range", "see ophclip cache build --help"),
        (["--size", "4"], "4 is not in the range", "see ophclip cache build --help"),
        (["--device", "cuda:99"], "there is no device 'cuda:99' here", "pass --device auto, or cpu"),
        (["--decoder", "vlc"], "'vlc' is not one of", "see ophclip cache build --help"),
        (["--stream", "features", "--size", "64"], "leave --size out", "see ophclip cache build --help"),
    ],
)
def test_bad_options_exit_2_with_a_remedy_and_make_nothing(
    options: list[str], says: str, remedy: str, corpus: Path, tmp_path: Path
) -> None:
    base = ["--device", "cpu"] if "features" in options else FRAMES
    done = run("build", corpus, "--out", tmp_path / "c.zarr", *base, *options)
    assert done.returncode == 2
    message, last = error_lines(done)
    assert says in message
    assert remedy in last
    assert last
    assert list(tmp_path.iterdir()) == []


def test_inputs_that_are_not_there_exit_2(tmp_path: Path) -> None:
    done = run("build", tmp_path / "gone", "--out", tmp_path / "c.zarr")
    assert done.returncode == 2
    assert error_lines(done) == (f"{tmp_path}/gone is neither a file nor a folder", "check the path")


def test_a_cache_of_another_rate_is_refused_with_both_rates(partial: Path, corpus: Path) -> None:
    done = run("build", corpus, "--out", partial, "--fps", 2, *FRAMES)
    assert done.returncode == 2
    assert error_lines(done) == (
        f"{partial} was built with fps = 1.0, this run has 2.0",
        "pass the same --fps, or another --out",
    )


def test_a_cache_of_another_encoder_is_refused_by_its_name(partial: Path, corpus: Path) -> None:
    done = run("build", corpus, "--out", partial, "--encoder", "tiny")
    assert done.returncode == 2
    assert error_lines(done) == (
        f"{partial} was built with encoder = 'frames', this run has 'tiny'",
        "pass the same --encoder or --stream, or another --out",
    )


def test_a_corpus_is_not_taken_for_a_cache(corpus: Path) -> None:
    before = sorted(corpus.rglob("*"))
    done = run("build", corpus, "--out", corpus, *FRAMES)
    assert done.returncode == 2
    assert error_lines(done) == (f"{corpus} exists and is not a cache", "name another --out")
    assert sorted(corpus.rglob("*")) == before


def json_of(*arguments: object) -> Any:
    done = run(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_info_says_what_a_cache_holds_and_how_it_was_made(partial: Path) -> None:
    facts = json_of("info", partial)
    assert (facts["videos"], facts["failed"], facts["frames"]) == (2, 1, 6)
    assert facts["bytes"] == 6 * 16 * 16 * 3
    assert facts["hours"] == round(6 / 3600, 4)
    assert (facts["encoder"], facts["decoder"], facts["fps"]) == ("frames", "pyav", 1.0)
    assert set(facts["versions"]) == {"ophclip", "decoder"}
    table = run("info", partial).stdout
    for word in ("videos", "frames", "crop 16x16", "pyav"):
        assert word in table


@pytest.mark.parametrize("command", ["info", "ls"])
def test_a_folder_without_a_cache_exits_2_and_says_how_to_build_one(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path)
    assert done.returncode == 2
    assert error_lines(done) == (
        f"no cache at {tmp_path}",
        "build one: ophclip cache build VIDEOS --out C.zarr",
    )


@pytest.mark.parametrize("command", ["info", "ls"])
def test_a_damaged_journal_exits_4_and_names_the_line(command: str, corpus: Path, tmp_path: Path) -> None:
    run("build", corpus, "--out", tmp_path / "c.zarr", *FRAMES, "--workers", 1)
    (journal,) = (tmp_path / "c.zarr" / "_journal").glob("commits-*.jsonl")
    journal.write_text("garbage\n" + journal.read_text())
    done = run(command, tmp_path / "c.zarr")
    assert done.returncode == 4
    message, remedy = error_lines(done)
    assert message == f"{journal}:1: not a journal line"
    assert remedy.startswith("restore it")


def test_a_full_disk_exits_1_and_the_same_command_goes_on(corpus: Path, tmp_path: Path) -> None:
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500));"
        "from ophclip.cli.main import main; main(sys.argv[1:])"
    )
    arguments = ["cache", "build", str(corpus), "--out", str(tmp_path / "c.zarr"), *FRAMES]
    done = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    message, remedy = error_lines(done)
    assert message == f"cannot write {tmp_path}/c.zarr: File too large"
    assert "run the same command again" in remedy
    assert run(*arguments[1:]).returncode == 0
    assert open_cache(tmp_path / "c.zarr").ids == ["case_a", "case_b"]


def test_an_unknown_kind_of_store_is_refused_by_name() -> None:
    done = run("info", "gs://bucket/c.zarr")
    assert done.returncode == 2
    assert "gs:// is not supported" in error_lines(done)[0]
