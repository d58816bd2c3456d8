# SPDX-License-Identifier: Apache-2.0
"""Simulate a corpus: draw its videos in parallel, then write what is said, shown and true in them."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ophclip import console
from ophclip._version import __version__
from ophclip.corpus.manifest import Clip, Corpus, Video, read_corpus, write_corpus
from ophclip.corpus.simulate.cast import Part, cast_videos
from ophclip.corpus.simulate.narration import Narration
from ophclip.corpus.simulate.production import SUFFIXES, Script, film, write_script
from ophclip.corpus.simulate.truth import Truth, truth_of, write_truth
from ophclip.errors import OphclipError, UsageError, did_you_mean
from ophclip.files import replace_file
from ophclip.video.encode import VideoCodec

MARKER = ".simulation.json"  # the settings of the work in this folder; stays when it is done


def simulate(
    out: Path,
    *,
    narrated: int = 64,
    silent: int = 48,
    test: int = 32,
    seconds: float = 30,
    size: int = 160,
    codec: VideoCodec = "h264",
    seed: int = 0,
    workers: int | None = None,
) -> Corpus:
    """Draw a corpus of simulated eye surgery into the folder `out` and return it.

    `narrated` and `silent` videos are to train on (split "train"), `test` ones, silent too, to test on. Each
    lasts `seconds` at 12 frames a second, `size` pixels wide and 3/4 of that high. The same arguments give
    the same bytes whatever the number of `workers` (processes; as many as CPUs if None). Writes `videos/`,
    `truth.csv`, and last `clips.csv` and `videos.csv`; an interrupted run is finished by the same call.

    Raises:
        UsageError: a number is out of range, or `out` holds something other than this very simulation.
        OphclipError: a video cannot be written.
    """
    out = Path(out)
    settings = {
        "narrated": narrated,
        "silent": silent,
        "test": test,
        "seconds": float(seconds),
        "size": size,
        "codec": codec,
        "seed": seed,
        "version": __version__,
    }
    _check(settings, workers)
    _claim(out, settings)
    parts = cast_videos(narrated, silent, test, seed)
    _film_all(parts, out / "videos", float(seconds), size, codec, workers)
    return _write_manifests(out, [write_script(part, float(seconds)) for part in parts], codec)


def _check(settings: dict[str, Any], workers: int | None) -> None:
    for name, least in (("narrated", 0), ("silent", 0), ("test", 0), ("seed", 0)):
        if settings[name] < least:
            raise UsageError(
                f"{name} must be {least} or more, got {settings[name]}", remedy=f"pass --{name} {least}"
            )
    if settings["narrated"] + settings["silent"] + settings["test"] < 1:
        raise UsageError("a corpus must have at least one video, got none", remedy="pass --narrated 4")
    if not 1 <= settings["seconds"] <= 3600:
        raise UsageError(
            f"seconds must be 1 to 3600, got {settings['seconds']:g}", remedy="pass --seconds 30"
        )
    if not 64 <= settings["size"] <= 1920 or settings["size"] % 8:
        raise UsageError(
            f"size must be a multiple of 8 from 64 to 1920, got {settings['size']}", remedy="pass --size 160"
        )
    if settings["codec"] not in SUFFIXES:
        raise UsageError(
            f"unknown codec {settings['codec']!r}", remedy=did_you_mean(settings["codec"], SUFFIXES)
        )
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be 1 or more, got {workers}", remedy="leave --workers out")


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Mark the folder as this simulation's, unless it already holds something else."""
    marker = out / MARKER
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not any(out.iterdir()):
            replace_file(marker, (json.dumps(settings, indent=2) + "\n").encode())
            return
        found = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else None
    except (OSError, ValueError) as error:
        raise UsageError(f"{out} cannot hold a simulation: {error}", remedy="pass another folder") from error
    if not isinstance(found, dict):
        raise UsageError(
            f"{out} must be empty or a simulation of ours, got other files in it",
            remedy="pass another folder",
        )
    for name, value in settings.items():
        if found.get(name) != value:
            raise UsageError(
                f"{out} holds a simulation with {name} = {found.get(name)}, got {value}",
                remedy="pass another folder, or the same settings to finish that one",
            )


def _film_all(
    parts: list[Part], folder: Path, seconds: float, size: int, codec: VideoCodec, workers: int | None
) -> None:
    _make_folder(folder)
    waiting = [part for part in parts if not (folder / f"{part.video_id}{SUFFIXES[codec]}").is_file()]
    task = partial(film, folder=folder, seconds=seconds, size=size, codec=codec)
    count = min(workers or _num_cpus(), len(waiting))
    with console.progress("simulate", len(parts), "videos") as bar:
        bar.advance(len(parts) - len(waiting))
        if count <= 1:
            for part in waiting:
                task(part)
                bar.advance()
            return
        with _pool(count) as pool:
            for done in as_completed([pool.submit(task, part) for part in waiting]):
                done.result()
                bar.advance()


@contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    # Spawned, not forked: the caller may run threads of torch or of a decoder.
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)  # videos in hand are finished: they count next time
        raise
    pool.shutdown()


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
        for leftover in folder.glob(".*.part"):
            leftover.unlink()
    except OSError as error:
        free = shutil.disk_usage(folder.parent).free // 2**20
        raise OphclipError(
            f"cannot write in {folder}: {error.strerror or error}",
            remedy=f"check the folder's permissions and the free space ({free} MiB)",
        ) from error


def _write_manifests(out: Path, scripts: list[Script], codec: VideoCodec) -> Corpus:
    root = out.absolute()
    videos: dict[str, Video] = {}
    clips: list[Clip] = []
    truths: dict[str, Truth] = {}
    for script in scripts:
        part = script.part
        path = root / "videos" / f"{part.video_id}{SUFFIXES[codec]}"
        videos[part.video_id] = Video(
            part.video_id, path, part.kind, script.titles.raw, script.titles.structured, part.split
        )
        clips += [_clip(part.video_id, number, said) for number, said in enumerate(script.narrations)]
        truths[part.video_id] = truth_of(script.timeline, script.timeline.seconds)
    write_truth(out, truths)
    write_corpus(Corpus(root, videos, clips), out)
    return read_corpus(out)


def _clip(video_id: str, number: int, said: Narration) -> Clip:
    return Clip(f"{video_id}-{number:03d}", video_id, said.start_s, said.end_s, said.text)
