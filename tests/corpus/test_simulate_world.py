# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ophclip.corpus.manifest import Corpus, read_corpus
from ophclip.corpus.simulate import simulate
from ophclip.corpus.simulate.cast import RARE, cast_videos
from ophclip.corpus.simulate.production import write_script
from ophclip.corpus.simulate.truth import read_truth, truth_of
from ophclip.corpus.simulate.vocabulary import PROCEDURES
from ophclip.corpus.simulate.world import MARKER
from ophclip.errors import OphclipError, UsageError
from ophclip.video.probe import probe

SMALL: dict[str, Any] = {"narrated": 3, "silent": 2, "test": 2, "seconds": 2.5, "size": 64, "seed": 11}


def contents(root: Path) -> dict[str, str]:
    """The hash of every file under a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ophclip.cli.main", "corpus", "simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated corpus, drawn in this process."""
    root = tmp_path_factory.mktemp("world") / "corpus"
    simulate(root, **SMALL, workers=1)
    return root


def test_the_bytes_do_not_depend_on_the_number_of_workers(world: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "again", **SMALL, workers=2)
    assert contents(tmp_path / "again") == contents(world)


def test_another_seed_gives_another_world(world: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "other", **(SMALL | {"seed": 12}), workers=1)
    here, there = contents(world), contents(tmp_path / "other")
    assert set(here) == set(there)
    assert not set(here.values()) & set(there.values())


def test_the_corpus_reads_back_with_its_splits_kinds_titles_and_narrations(world: Path) -> None:
    corpus = read_corpus(world)
    assert Counter((video.kind, video.split) for video in corpus.videos.values()) == {
        ("narrated", "train"): 3,
        ("silent", "train"): 2,
        ("silent", "test"): 2,
    }
    assert corpus.missing_files() == []
    assert all(video.title and video.title_structured for video in corpus.videos.values())
    for video in corpus.videos.values():
        assert bool(corpus.clips_of(video.video_id)) == (video.kind == "narrated")


def test_videos_have_the_length_rate_and_size_asked_for(world: Path) -> None:
    for video in read_corpus(world).videos.values():
        facts = probe(video.path)
        assert (facts.width, facts.height) == (64, 48)
        assert len(facts.pts) == 30
        assert float(facts.end_pts * facts.time_base - facts.start) == pytest.approx(2.5)


def test_truth_is_that_of_the_timelines_second_by_second(world: Path) -> None:
    truths = read_truth(world)
    parts = cast_videos(SMALL["narrated"], SMALL["silent"], SMALL["test"], SMALL["seed"])
    assert list(truths) == [part.video_id for part in parts] == list(read_corpus(world).videos)
    for part in parts:
        timeline = write_script(part, SMALL["seconds"]).timeline
        assert truths[part.video_id] == truth_of(timeline, SMALL["seconds"])
        assert truths[part.video_id].procedure == part.procedure
        assert len(truths[part.video_id].phases) == 3


def test_vp9_gives_webm_that_decodes(tmp_path: Path) -> None:
    corpus = simulate(
        tmp_path / "vp9", narrated=1, silent=0, test=0, seconds=1, size=64, codec="vp9", workers=1
    )
    (video,) = corpus.videos.values()
    assert video.path.suffix == ".webm"
    assert probe(video.path).codec == "vp9"
    assert len(probe(video.path).pts) == 12


def test_a_killed_simulation_is_finished_with_the_bytes_of_an_uninterrupted_one(
    world: Path, tmp_path: Path
) -> None:
    root = tmp_path / "killed"
    options = [f"--{key}={value}" for key, value in SMALL.items()]
    command = [
        sys.executable,
        "-m",
        "ophclip.cli.main",
        "corpus",
        "simulate",
        "--out",
        str(root),
        "--workers=1",
    ]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(root.glob("videos/narrated-*.mp4"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (root / "videos.csv").exists()
    kept = {path: path.stat().st_mtime_ns for path in root.glob("videos/*.mp4")}
    assert len(kept) < 7
    (root / "videos" / ".test-00001.mp4.0123.part").write_bytes(b"half a video")
    simulate(root, **SMALL, workers=1)
    assert contents(root) == contents(world)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_finished_simulation_is_left_as_it_is(world: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.glob("videos/*")}
    assert isinstance(simulate(world, **SMALL), Corpus)
    assert {path: path.stat().st_mtime_ns for path in world.glob("videos/*")} == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 12}, "seed = 11, got 12"),
        ({"seconds": 3}, "seconds = 2.5, got 3.0"),
        ({"size": 72}, "size = 64, got 72"),
        ({"codec": "vp9"}, "codec = h264, got vp9"),
        ({"narrated": 4}, "narrated = 3, got 4"),
    ],
)
def test_other_settings_are_refused_in_the_folder_of_a_simulation(
    world: Path, changes: dict[str, Any], says: str
) -> None:
    before = contents(world)
    with pytest.raises(UsageError) as caught:
        simulate(world, **(SMALL | changes))
    assert f"{world} holds a simulation with {says}" in caught.value.message
    assert contents(world) == before


@pytest.mark.parametrize(("name", "text"), [("notes.txt", "mine"), (MARKER, "[1]"), (MARKER, "not JSON")])
def test_a_folder_with_other_content_is_refused_and_left_alone(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        simulate(tmp_path, **SMALL)
    assert str(tmp_path) in caught.value.message
    assert caught.value.remedy == "pass another folder"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot hold a simulation"):
        simulate(tmp_path / "file", **SMALL)


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    simulate(tmp_path, **(SMALL | {"narrated": 1, "silent": 0, "test": 0, "seconds": 1}), workers=1)
    for path in (tmp_path / "videos").iterdir():
        path.unlink()
    (tmp_path / "videos").rmdir()
    (tmp_path / "videos").write_text("a file where the videos go")
    with pytest.raises(OphclipError) as caught:
        simulate(tmp_path, **(SMALL | {"narrated": 1, "silent": 0, "test": 0, "seconds": 1}), workers=1)
    assert f"cannot write in {tmp_path / 'videos'}" in caught.value.message
    assert "MiB" in caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "message", "remedy"),
    [
        ({"narrated": -1}, "narrated must be 0 or more, got -1", "pass --narrated 0"),
        ({"silent": -2}, "silent must be 0 or more, got -2", "pass --silent 0"),
        ({"test": -3}, "test must be 0 or more, got -3", "pass --test 0"),
        ({"seed": -4}, "seed must be 0 or more, got -4", "pass --seed 0"),
        ({"narrated": 0, "silent": 0, "test": 0}, "at least one video", "--narrated"),
        ({"seconds": 0.5}, "seconds must be 1 to 3600, got 0.5", "--seconds 30"),
        ({"seconds": float("nan")}, "seconds must be 1 to 3600, got nan", "--seconds 30"),
        ({"seconds": 4000}, "seconds must be 1 to 3600, got 4000", "--seconds 30"),
        ({"size": 60}, "size must be a multiple of 8 from 64 to 1920, got 60", "--size 160"),
        ({"size": 100}, "size must be a multiple of 8 from 64 to 1920, got 100", "--size 160"),
        ({"size": 2000}, "size must be a multiple of 8 from 64 to 1920, got 2000", "--size 160"),
        ({"codec": "vp8"}, "unknown codec 'vp8'", "vp9"),
        ({"workers": 0}, "workers must be 1 or more, got 0", "leave --workers out"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str, remedy: str
) -> None:
    with pytest.raises(UsageError) as caught:
        simulate(tmp_path / "corpus", **(SMALL | changes))
    assert message in caught.value.message
    assert remedy in caught.value.remedy
    assert not (tmp_path / "corpus").exists()


def test_rare_procedures_and_looks_are_mainly_among_the_silent_videos() -> None:
    parts = cast_videos(200, 200, 160, seed=1)
    shares = {
        (kind, split): [part for part in parts if (part.kind, part.split) == (kind, split)]
        for kind, split in (("narrated", "train"), ("silent", "train"), ("silent", "test"))
    }
    rare = {group: sum(part.procedure in RARE for part in cast) for group, cast in shares.items()}
    assert rare == {("narrated", "train"): 24, ("silent", "train"): 140, ("silent", "test"): 100}
    looks = {group: sum(part.has_rare_style for part in cast) for group, cast in shares.items()}
    assert looks["silent", "train"] > 3 * looks["narrated", "train"] > 0


def test_the_test_split_has_every_procedure_equally_often() -> None:
    for count in (8, 30, 32):
        cast = Counter(part.procedure for part in cast_videos(5, 5, count, seed=2) if part.split == "test")
        assert set(cast) == {term.key for term in PROCEDURES}
        assert max(cast.values()) - min(cast.values()) <= 1


def test_every_video_of_a_cast_has_an_id_and_a_number_of_its_own() -> None:
    parts = cast_videos(40, 30, 20, seed=3)
    assert len({part.video_id for part in parts}) == len({part.index for part in parts}) == 90
    assert parts == cast_videos(40, 30, 20, seed=3)
    assert parts != cast_videos(40, 30, 20, seed=4)


def test_the_command_reports_what_it_made_as_one_json_object(tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    done = run(
        "--out", str(out), "--narrated=1", "--silent=0", "--test=1", "--seconds=2", "--size=64", "--json"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == {
        "out": str(out),
        "videos": 2,
        "clips": len(read_corpus(out).clips),
        "truth": str(out / "truth.csv"),
    }
    assert len(read_truth(out)) == 2


def test_the_command_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path / "corpus"), "--size=100")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: size must be a multiple of 8 from 64 to 1920, got 100",
        "pass --size 160",
    ]
