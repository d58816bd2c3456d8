# SPDX-License-Identifier: Apache-2.0
"""CATARACTS: a table a video, with a row a frame and a column a tool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ophclip.corpus.simulate.layouts.footage import Film, instruments_at, phase_at
from ophclip.corpus.simulate.layouts.plan import Plan, splits_of
from ophclip.corpus.simulate.production import Script

RATE = 30
COLUMNS = (
    "biomarker",
    "Charleux cannula",
    "hydrodissection cannula",
    "Rycroft cannula",
    "viscoelastic cannula",
    "cotton",
    "capsulorhexis cystotome",
    "Bonn forceps",
    "capsulorhexis forceps",
    "Troutman forceps",
    "needle holder",
    "irrigation/aspiration handpiece",
    "phacoemulsifier handpiece",
    "vitrectomy handpiece",
    "implant injector",
    "primary incision knife",
    "secondary incision knife",
    "micromanipulator",
    "suture needle",
    "Mendez ring",
    "Vannas scissors",
)
TOOLS = {
    "hydrodissection_cannula": "hydrodissection cannula",
    "viscoelastic_cannula": "viscoelastic cannula",
    "cystotome": "capsulorhexis cystotome",
    "forceps": "Bonn forceps",
    "capsulorhexis_forceps": "capsulorhexis forceps",
    "irrigation_aspiration_handpiece": "irrigation/aspiration handpiece",
    "phaco_probe": "phacoemulsifier handpiece",
    "lens_injector": "implant injector",
    "keratome": "primary incision knife",
    "chopper": "micromanipulator",
}


def cataracts(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan CATARACTS; frames are numbered from 1."""
    plan = Plan()
    numbers = {"train": 0, "test": 0}
    for script, split in zip(scripts, splits_of(scripts), strict=True):
        numbers[split] += 1
        path = out / split / f"{split}{numbers[split]:02d}.mp4"
        film = Film(path, script.part, seconds, seconds=seconds, rate=RATE)
        rows = ["Frame," + ",".join(COLUMNS)]
        for frame in range(film.num_frames):
            seen = _tools(script, frame / RATE)
            rows.append(f"{frame + 1}," + ",".join("1" if name in seen else "0" for name in COLUMNS))
            plan.shown |= {name.lower().replace("/", " ").replace(" ", "_") for name in seen}
        plan.write_text(path.with_suffix(".csv"), rows)
        plan.films.append(film)
        plan.count("videos")
        plan.count(f"videos.{split}")
    return plan


def _tools(script: Script, time_s: float) -> set[str]:
    found = {TOOLS[tool] for tool in instruments_at(script, time_s) if tool in TOOLS}
    if phase_at(script, time_s) == "phacoemulsification":
        found.add(TOOLS["chopper"])
    return found
