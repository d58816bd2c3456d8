# SPDX-License-Identifier: Apache-2.0
"""`ophclip cache build` without an encoder beside a bare PyAV loop that decodes every frame and resizes some.

CPU-seconds are those of whole process trees: a shared machine stretches the clock, but not them.
"""

from __future__ import annotations

import functools
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
from footage import RATE, write_long

from ophclip.bench import Case, Contest, Target
from ophclip.bench.case import UnavailableError
from ophclip.video import write_video

SECTION = "cache build"
NUM_VIDEOS = 2
OF_BARE, OF_THROUGH, OF_ONE = "x bare PyAV's CPU-seconds", "x faster than decoding through", "x one worker"

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


def building_cases(folder: Path, *, is_smoke: bool) -> list[Case]:
    """Return the cases; videos and caches are written to `folder` when first used."""
    seconds, rounds = (10, 1) if is_smoke else (120, 3)  # of each video: starting up is then little beside it
    videos = functools.cache(lambda: _long_videos(folder, seconds))

    figures: dict[str, tuple[Callable[[], dict[str, float]], Target]] = {
        "no encoder": (lambda: _cpu_of_both(videos(), folder, rounds), Target(OF_BARE, most=1.1)),
        "a key frame a second": (lambda: _seeking(folder, seconds, rounds), Target(OF_THROUGH, least=2.5)),
        "two workers, wall time": (lambda: _two_workers(videos(), folder, rounds), Target(OF_ONE, least=1.8)),
    }
    return [_case(name, measure, target) for name, (measure, target) in figures.items()]


def _case(name: str, measure: Callable[[], dict[str, float]], target: Target) -> Case:
    return Case(name, SECTION, lambda _: Contest(figures=measure), (target,))


def _cpu_of_both(videos: list[Path], folder: Path, rounds: int) -> dict[str, float]:
    theirs, ours = [], []
    for _ in range(rounds):
        theirs.append(_cpu_s(_bare(videos)))
        ours.append(_cpu_s(_build(videos, _fresh(folder), 1)))
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {
        OF_BARE: statistics.median(ratios),
        "CPU-s ours": min(ours),
        "CPU-s bare PyAV": min(theirs),
        "CPU-s to start": min(_start_s(folder) for _ in range(rounds)),
    }


def _seeking(folder: Path, seconds: int, rounds: int) -> dict[str, float]:
    path = write_long(folder / "short_groups.mp4", seconds, group=RATE)
    ratios = []
    for _ in range(rounds):
        through = _cpu_s(_bare([path])) - _cpu_s(_bare([]))
        ratios.append(through / (_cpu_s(_build([path], _fresh(folder), 1)) - _start_s(folder)))
    return {OF_THROUGH: statistics.median(ratios)}


def _two_workers(videos: list[Path], folder: Path, rounds: int) -> dict[str, float]:
    if len(os.sched_getaffinity(0)) < 2:
        raise UnavailableError("two workers need two cores")
    ratios = []
    for _ in range(rounds):
        one, two = (_wall_s(videos, _fresh(folder), count) for count in (1, 2))
        ratios.append(one / two)
    return {OF_ONE: max(ratios)}  # what others take of the machine only lowers it


def _long_videos(folder: Path, seconds: int) -> list[Path]:
    """Videos with a key frame every ten seconds, as web sites serve them: seeking saves nothing."""
    first = write_long(folder / "0.mp4", seconds, group=250)
    return [first, *(Path(shutil.copy(first, folder / f"{n}.mp4")) for n in range(1, NUM_VIDEOS))]


def _bare(videos: list[Path]) -> list[str]:
    return [sys.executable, "-c", BARE, *map(str, videos)]


def _build(videos: list[Path], out: Path, workers: int) -> list[str]:
    files = [*map(str, videos), "--out", str(out), "--device", "cpu", "--stream", "frames"]
    command = [sys.executable, "-m", "ophclip.cli.main", "cache", "build", *files]
    return [*command, "--workers", str(workers), "--quiet"]


def _cpu_s(command: list[str]) -> float:
    """Run a command and return the CPU-seconds, user and system, of it and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _wall_s(videos: list[Path], out: Path, workers: int) -> float:
    """Seconds of a build on as many cores as workers: one with two cores would decode with two threads."""
    cores = sorted(os.sched_getaffinity(0))[:workers]
    command = _build(videos, out, workers)
    start = time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    return time.perf_counter() - start


def _fresh(folder: Path) -> Path:
    """Return where a new cache can be built."""
    shutil.rmtree(folder / "c.zarr", ignore_errors=True)
    return folder / "c.zarr"


def _start_s(folder: Path) -> float:
    """CPU-seconds of a build of next to nothing, with one worker."""
    write_video(folder / "tiny.mp4", [np.zeros((16, 16, 3), dtype=np.uint8)], 1)
    return _cpu_s(_build([folder / "tiny.mp4"], _fresh(folder), 1))
