# SPDX-License-Identifier: Apache-2.0
"""Processes killed at random times: whatever was stored is there, bit for bit, and nothing else."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_children import finish, start
from cache_corpus import check_visible, contents, tree
from kill_model import Model, WrongOrder, check_with_zarr, rows_of, steps, write_until_killed

from ophclip import console
from ophclip.cache import CacheInput, open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.content import content_hash
from ophclip.cache.verify import verify_cache
from ophclip.errors import OphclipError

SEED = 20261125
LONGEST_S = 0.35


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    console.set_quiet(True)
    yield
    console.set_quiet(False)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uninterrupted") / "c.zarr"
    write_until_killed_here(path, path.parent / "log")
    return path


def write_until_killed_here(path: Path, log: Path) -> None:
    assert finish(start(write_until_killed, path, log, 0, CacheWriter)) == 0


def check_after_kill(path: Path, log: Path, rng: np.random.Generator) -> set[str]:
    try:
        seen = Model.read(log).check(path)
        check_with_zarr(path, seen, rng)
        report = verify_cache(path, threads=1)
    except OphclipError as error:
        raise AssertionError(f"damaged: {error}") from error
    assert report.findings == []
    return seen


def kill_at_random(
    count: int, tmp_path: Path, uninterrupted: Path, writer: type[CacheWriter] = CacheWriter
) -> None:
    """Kill `count` writers; each goes on from where the last one died, or anew where all is done."""
    rng, numbers = random.Random(SEED), np.random.default_rng(SEED)
    path, log, finished, killed, hits = tmp_path / "c.zarr", tmp_path / "log", 0, 0, 0
    while killed < count:
        process = start(write_until_killed, path, log, SEED + killed, writer)
        time.sleep(rng.uniform(0.01, LONGEST_S))
        process.kill()
        code = finish(process)
        killed += code == -signal.SIGKILL
        hits += Model.read(log).in_hand is not None and code == -signal.SIGKILL
        if (path / "zarr.json").exists():
            check_after_kill(path, log, numbers)
        if code == 0:
            check_equal(path, uninterrupted)
            shutil.rmtree(path)
            log.unlink()
            finished += 1
    write_until_killed_here(path, log)
    check_equal(path, uninterrupted)
    print(f"seed {SEED}: {count} kills, {hits} of them within a video, {finished} caches completed")


def check_equal(path: Path, uninterrupted: Path) -> None:
    assert tree(path) == tree(uninterrupted)
    assert content_hash(open_cache(path)) == content_hash(open_cache(uninterrupted))


def test_writers_killed_at_random_times_lose_nothing(tmp_path: Path, uninterrupted: Path) -> None:
    kill_at_random(15, tmp_path, uninterrupted)


@pytest.mark.slow
def test_two_hundred_writers_killed_at_random_times_lose_nothing(tmp_path: Path, uninterrupted: Path) -> None:
    kill_at_random(200, tmp_path, uninterrupted)


def test_a_writer_with_a_wrong_order_is_caught_by_the_same_kills(tmp_path: Path, uninterrupted: Path) -> None:
    with pytest.raises(AssertionError, match=r"damaged|is not what was stored|findings"):
        kill_at_random(60, tmp_path, uninterrupted, WrongOrder)


def test_an_uninterrupted_run_stores_every_step(uninterrupted: Path) -> None:
    last = dict(steps())
    assert {name: data for name, (data, _) in contents(uninterrupted).items()} == {
        name: rows_of(name, version).tobytes() for name, version in last.items()
    }


SLOW_DISK = """
import os, sys, time
from ophclip.cli.main import main
fsync = os.fsync
def slow_fsync(descriptor):
    time.sleep(0.01)
    fsync(descriptor)
os.fsync = slow_fsync
main(sys.argv[1:])
"""


def build_command(clips: list[CacheInput], path: Path) -> list[str]:
    files = [str(item.path) for item in clips]
    options = ["--stream", "frames", "--size", "16", "--fps", "2", "--device", "cpu", "--quiet"]
    return [sys.executable, "-c", SLOW_DISK, "cache", "build", *files, "--out", str(path), *options]


def await_then_kill(command: list[str], path: Path, rng: random.Random) -> int:
    """Kill a command some time after the first sign of its work; return its exit code."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    before = len(list(path.glob("videos/*")))
    while process.poll() is None and len(list(path.glob("videos/*"))) == before:
        time.sleep(0.001)
        assert time.monotonic() - began < 60
    time.sleep(rng.uniform(0, 0.4))
    process.kill()
    return process.wait()


def test_the_real_command_killed_at_random_times_is_completed_by_the_same_command(
    clips: list[CacheInput], built_frames: Path, tmp_path: Path
) -> None:
    path, rng, expected, seen = tmp_path / "c.zarr", random.Random(SEED), contents(built_frames), set[str]()
    codes = set()
    for _ in range(5):
        codes.add(await_then_kill(build_command(clips, path), path, rng))
        if (path / "zarr.json").exists():
            now_seen = check_visible(path, expected)
            assert seen <= now_seen, "a committed video is gone"
            seen = now_seen
    assert -signal.SIGKILL in codes
    assert subprocess.run(build_command(clips, path)).returncode == 0
    assert content_hash(open_cache(path)) == content_hash(open_cache(built_frames))
    assert verify_cache(path).findings == []
