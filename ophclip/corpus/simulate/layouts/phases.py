# SPDX-License-Identifier: Apache-2.0
"""Datasets with a phase at each moment: Cataract-21, Cataract-101 and Cataract-1K."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from ophclip.corpus.simulate.layouts.footage import Film, segments_of
from ophclip.corpus.simulate.layouts.plan import Named, Plan, splits_of
from ophclip.corpus.simulate.production import Script

CATARACT_PHASES: Named = {
    "incision": ("incision", "Incision"),
    "viscoelastic_injection": ("viscous_agent_injection", "Viscous agent injection"),
    "capsulorhexis": ("rhexis", "Rhexis"),
    "hydrodissection": ("hydrodissection", "Hydrodissection"),
    "phacoemulsification": ("phacoemulsification", "Phacoemulsificiation"),
    "irrigation_aspiration": ("irrigation_and_aspiration", "Irrigation and aspiration"),
    "lens_implantation": ("lens_implant_setting_up", "Lens implant setting-up"),
    "second irrigation_aspiration": ("viscous_agent_removal", "Viscous agent removal"),
    "second viscoelastic_injection": ("capsule_polishing", "Capsule polishing"),
    "wound_hydration": ("tonifying_and_antibiotics", "Tonifying and antibiotics"),
}
CATARACT_1K_PHASES: Named = {
    "incision": ("incision", "Incision"),
    "viscoelastic_injection": ("viscoelastic", "Viscoelastic"),
    "capsulorhexis": ("capsulorhexis", "Capsulorhexis"),
    "hydrodissection": ("hydrodissection", "Hydrodissection"),
    "phacoemulsification": ("phacoemulsification", "Phacoemulsification"),
    "irrigation_aspiration": ("irrigation_aspiration", "Irrigation/Aspiration"),
    "lens_implantation": ("lens_implantation", "Lens Implantation"),
    "second irrigation_aspiration": ("viscoelastic_suction", "Viscoelastic_Suction"),
    "second viscoelastic_injection": ("capsule_polishing", "Capsule Pulishing"),
    "wound_hydration": ("tonifying_antibiotics", "Tonifying/Antibiotics"),
}


def named_segments(script: Script, names: Named) -> Iterator[tuple[str, str, float, float]]:
    """Yield key, written name, start and end of each phase; idle has empty names.

    What comes a second time in an operation has its own name where `names` has one for it.
    """
    seen: set[str] = set()
    for segment in segments_of(script):
        phase = segment.phase
        if phase in seen and f"second {phase}" in names:
            phase = f"second {phase}"
        seen.add(segment.phase)
        key, name = names.get(phase, ("", ""))
        yield key, name, segment.start_s, segment.end_s


def cat21(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan Cataract-21: a headerless row for every frame."""
    plan, rate = Plan(), 25
    for number, (script, split) in enumerate(zip(scripts, splits_of(scripts), strict=True)):
        folder = out / ("validation" if split == "test" else "training")
        film = Film(folder / f"case_{number + 1:02d}.mp4", script.part, seconds, seconds=seconds, rate=rate)
        labels = ["not_initialized"] * film.num_frames
        for key, name, start_s, end_s in named_segments(script, CATARACT_PHASES):
            if name:
                frames = range(math.ceil(start_s * rate), min(math.ceil(end_s * rate), len(labels)))
                labels[frames.start : frames.stop] = [name] * len(frames)
                plan.shown.add(key)
        rows = (f"{frame},{label}" for frame, label in enumerate(labels))
        plan.write_text(film.path.with_suffix(".csv"), rows)
        plan.films.append(film)
        plan.count("videos")
        plan.count("videos.val" if split == "test" else "videos.train")
    return plan


def cataract101(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan Cataract-101: start frames in tables with semicolons."""
    plan, rate = Plan(), 25
    numbers = {name: index + 1 for index, (_, name) in enumerate(CATARACT_PHASES.values())}
    videos, annotations = ["VideoID;Frames;FPS;Surgeon;Experience"], ["VideoID;FrameNo;Phase"]
    for number, script in enumerate(scripts):
        video = 269 + number
        film = Film(out / "videos" / f"case_{video}.mp4", script.part, seconds, seconds=seconds, rate=rate)
        plan.films.append(film)
        plan.count("videos")
        videos.append(f"{video};{film.num_frames};{rate};{number % 4 + 1};{number % 2 + 1}")
        for key, name, start_s, _ in named_segments(script, CATARACT_PHASES):
            if name:  # what follows a phase idly belongs to it
                annotations.append(f"{video};{math.ceil(start_s * rate)};{numbers[name]}")
                plan.shown.add(key)
    plan.write_text(out / "videos.csv", videos)
    plan.write_text(out / "annotations.csv", annotations)
    plan.write_text(out / "phases.csv", ["Phase;Meaning", *(f"{n};{name}" for name, n in numbers.items())])
    return plan


def cataract1k(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan the phases of Cataract-1K: a folder a case, first and last frames, the rate in column five."""
    plan, rate = Plan(), 30
    for number, script in enumerate(scripts):
        case = f"case_{4687 + number}"
        film = Film(out / "videos" / f"{case}.mp4", script.part, seconds, seconds=seconds, rate=rate)
        folder = out / "annotations" / case
        rows = ["caseId,comment,frame,endFrame,sec,endSec"]
        for key, name, start_s, end_s in named_segments(script, CATARACT_1K_PHASES):
            if name:
                first, last = math.ceil(start_s * rate), math.ceil(end_s * rate)
                rows.append(f"{case[5:]},{name},{first},{last},{first / rate:.3f},{last / rate:.3f}")
                plan.shown.add(key)
        plan.write_text(folder / f"{case}_annotations_phases.csv", rows)
        facts = ["caseId,width,height,frames,fps", f"{case[5:]},1024,768,{film.num_frames},{rate}.0"]
        plan.write_text(folder / f"{case}_video.csv", facts)
        plan.films.append(film)
        plan.count("videos")
    return plan
