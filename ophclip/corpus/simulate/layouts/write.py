# SPDX-License-Identifier: Apache-2.0
"""Write a layout: its films, drawn in parallel, then its tables, and last the marker of what is there."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from ophclip import console
from ophclip._version import __version__
from ophclip.corpus.simulate.cast import Part
from ophclip.corpus.simulate.layouts import clips, phases, pictures, tools
from ophclip.corpus.simulate.layouts.footage import Film, draw
from ophclip.corpus.simulate.layouts.plan import Plan
from ophclip.corpus.simulate.production import Script, write_script
from ophclip.corpus.simulate.vocabulary import PROCEDURES
from ophclip.corpus.simulate.world import MARKER
from ophclip.errors import UsageError, did_you_mean
from ophclip.files import replace_file

Planner = Callable[[Path, Sequence[Script], float], Plan]

LAYOUTS: dict[str, Planner] = {
    "cat21": phases.cat21,
    "cataract101": phases.cataract101,
    "cataract1k-phase": phases.cataract1k,
    "catreldet": clips.catreldet,
    "lensid": clips.lensid,
    "ophnet-phase": clips.ophnet_phase,
    "ophnet-operation": clips.ophnet_operation,
    "cataract1k-instruments": pictures.cataract1k_instruments,
    "catinstseg": pictures.catinstseg,
    "catinstseg-cadis": pictures.catinstseg_cadis,
    "cadis": pictures.cadis,
    "cataracts": tools.cataracts,
}
OF_ALL_PROCEDURES = ("ophnet-phase", "ophnet-operation")  # the others show cataract surgery alone
MAX_VIDEOS = 99


def write_layout(
    layout: str,
    out: Path,
    *,
    videos: int = 6,
    seconds: float = 30,
    size: int = 160,
    seed: int = 0,
    workers: int | None = None,
) -> dict[str, int]:
    """Draw simulated operations in the layout of the dataset `layout` and return what a check should count.

    The same arguments give the same bytes. An interrupted run is finished by the same call.

    Raises:
        UsageError: there is no such layout, a number is out of range, or `out` holds something else.
        OphclipError: a video cannot be written.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"no layout {layout!r}", remedy=did_you_mean(layout, LAYOUTS))
    settings = {"videos": videos, "seconds": float(seconds), "size": size, "seed": seed}
    _check(settings, workers)
    out = Path(out).absolute()
    _claim(out, {"layout": layout, **settings, "version": __version__})
    scripts = [write_script(part, float(seconds)) for part in _cast(layout, videos, seed)]
    plan = LAYOUTS[layout](out, scripts, float(seconds))
    _draw_all(plan.films, size, workers)
    for path, content in plan.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    told = {"layout": layout, **settings, "version": __version__}
    told |= {"counts": plan.counts, "shown": sorted(plan.shown)}
    replace_file(out / MARKER, (json.dumps(told, indent=2) + "\n").encode())
    return plan.counts


def _check(settings: dict[str, Any], workers: int | None) -> None:
    if not 1 <= settings["videos"] <= MAX_VIDEOS:
        got = settings["videos"]
        raise UsageError(f"a layout must have 1 to {MAX_VIDEOS} videos, got {got}", remedy="pass --test 6")
    if not 1 <= settings["seconds"] <= 3600:
        got = f"{settings['seconds']:g}"
        raise UsageError(f"seconds must be 1 to 3600, got {got}", remedy="pass --seconds 30")
    if not 64 <= settings["size"] <= 1920 or settings["size"] % 8:
        got = settings["size"]
        raise UsageError(f"size must be a multiple of 8 from 64 to 1920, got {got}", remedy="pass --size 160")
    if settings["seed"] < 0 or (workers is not None and workers < 1):
        raise UsageError("seed must be 0 or more and workers 1 or more", remedy="leave them out")


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Mark the folder as this simulation's, unless it already holds something else."""
    marker = out / MARKER
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not any(out.iterdir()):
            replace_file(marker, (json.dumps(settings, indent=2) + "\n").encode())
            return
        found = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{out} cannot hold a simulation: {error}", remedy="pass another folder") from error
    different = next((name for name in settings if found.get(name) != settings[name]), None)
    if different is not None:
        raise UsageError(
            f"{out} must be empty or this very simulation, got another {different}",
            remedy="pass another folder, or the same settings to finish that one",
        )


def _cast(layout: str, videos: int, seed: int) -> list[Part]:
    procedures = [term.key for term in PROCEDURES] if layout in OF_ALL_PROCEDURES else [PROCEDURES[0].key]
    return [
        Part(f"{layout}-{index:03d}", "silent", "", procedures[index % len(procedures)], False, seed, index)
        for index in range(videos)
    ]


def _draw_all(films: Sequence[Film], size: int, workers: int | None) -> None:
    operations: dict[int, list[Film]] = {}
    for film in films:
        operations.setdefault(film.part.index, []).append(film)
    task = partial(draw, size=size)
    with console.progress("simulate", len(operations), "operations") as bar:
        if workers == 1 or len(operations) == 1:
            for group in operations.values():
                task(group)
                bar.advance()
            return
        # Spawned, not forked: the caller may run threads of torch or of a decoder.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for done in as_completed([pool.submit(task, group) for group in operations.values()]):
                done.result()
                bar.advance()
