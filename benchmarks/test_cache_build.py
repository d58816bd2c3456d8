# SPDX-License-Identifier: Apache-2.0
"""`ophclip cache build` without an encoder beside a bare PyAV loop that decodes every frame and resizes some.

CPU-seconds are those of whole process trees: a shared machine stretches the clock, but not them.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SCALE
from footage import RATE, write_long

from ophclip.bench import Case, Contest, Result, Target
from ophclip.video import write_video

SECTION = "cache build"
IS_SMOKE = SCALE == "smoke"
SECONDS = 10 if IS_SMOKE else 120  # of each video: starting up is then little beside the work
ROUNDS = 1 if IS_SMOKE else 3
NUM_VIDEOS = 2

# As short as it can be written: the least that anyone does to fill such a cache.
BARE = """
import sys
import av
from av.video.reformatter import VideoReformatter
for path in sys.argv[1:]:
    with av.open(path) as container:
        stream, scaler, second = container.streams.video[0], VideoReformatter(), 0
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.time >= second:
                scaled = scaler.reformat(frame, 398, 224, "rgb24", interpolation="BILINEAR", threads=1)
                picture, second = scaled.to_ndarray()[:, 87:311], second + 1
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Long videos with a key frame every ten seconds, as web sites serve them: seeking saves nothing."""
    folder = tmp_path_factory.mktemp("long")
    first = write_long(folder / "0.mp4", SECONDS, group=250)
    return [first, *(Path(shutil.copy(first, folder / f"{n}.mp4")) for n in range(1, NUM_VIDEOS))]


def bare(videos: list[Path]) -> list[str]:
    return [sys.executable, "-c", BARE, *map(str, videos)]


def build(videos: list[Path], out: Path, workers: int) -> list[str]:
    files = [*map(str, videos), "--out", str(out), "--device", "cpu", "--stream", "frames"]
    command = [sys.executable, "-m", "ophclip.cli.main", "cache", "build", *files]
    return [*command, "--workers", str(workers), "--quiet"]


def cpu_s(command: list[str]) -> float:
    """Run a command and return the CPU-seconds, user and system, of it and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def wall_s(videos: list[Path], out: Path, workers: int) -> float:
    """Seconds of a build on as many cores as workers: one with two cores would decode with two threads."""
    cores = sorted(os.sched_getaffinity(0))[:workers]
    command = build(videos, out, workers)
    start = time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    return time.perf_counter() - start


def fresh(folder: Path) -> Path:
    """Return where a new cache can be built."""
    shutil.rmtree(folder / "c.zarr", ignore_errors=True)
    return folder / "c.zarr"


def start_s(folder: Path) -> float:
    """CPU-seconds of a build of next to nothing, with one worker."""
    write_video(folder / "tiny.mp4", [np.zeros((16, 16, 3), dtype=np.uint8)], 1)
    return cpu_s(build([folder / "tiny.mp4"], fresh(folder), 1))


def test_cpu(run_case: Callable[[Case], Result], videos: list[Path], tmp_path: Path) -> None:
    def figures() -> dict[str, float]:
        theirs, ours = [], []
        for _ in range(ROUNDS):
            theirs.append(cpu_s(bare(videos)))
            ours.append(cpu_s(build(videos, fresh(tmp_path), 1)))
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        return {
            "x bare PyAV's CPU-seconds": statistics.median(ratios),
            "CPU-s ours": min(ours),
            "CPU-s bare PyAV": min(theirs),
            "CPU-s to start": min(start_s(tmp_path) for _ in range(ROUNDS)),
        }

    target = Target("x bare PyAV's CPU-seconds", most=1.1)
    run_case(Case("no encoder", SECTION, lambda _: Contest(figures=figures), (target,)))


def test_seeking(run_case: Callable[[Case], Result], tmp_path: Path) -> None:
    path = write_long(tmp_path / "short_groups.mp4", SECONDS, group=RATE)

    def figures() -> dict[str, float]:
        ratios = []
        for _ in range(ROUNDS):
            through = cpu_s(bare([path])) - cpu_s(bare([]))
            ratios.append(through / (cpu_s(build([path], fresh(tmp_path), 1)) - start_s(tmp_path)))
        return {"x faster than decoding through": statistics.median(ratios)}

    target = Target("x faster than decoding through", least=2.5)
    run_case(Case("a key frame a second", SECTION, lambda _: Contest(figures=figures), (target,)))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers need two cores")
def test_two_workers(run_case: Callable[[Case], Result], videos: list[Path], tmp_path: Path) -> None:
    def figures() -> dict[str, float]:
        ratios = []
        for _ in range(ROUNDS):
            one, two = (wall_s(videos, fresh(tmp_path), count) for count in (1, 2))
            ratios.append(one / two)
        return {"x one worker": max(ratios)}  # what others take of the machine only lowers it

    target = Target("x one worker", least=1.8)
    run_case(Case("two workers, wall time", SECTION, lambda _: Contest(figures=figures), (target,)))
