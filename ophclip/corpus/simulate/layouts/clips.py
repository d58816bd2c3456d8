# SPDX-License-Identifier: Apache-2.0
"""Datasets of clips: CatRelDet and LensID in folders, OphNet as spans of whole videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ophclip.corpus.simulate.layouts.footage import Film, segments_of
from ophclip.corpus.simulate.layouts.plan import Plan, splits_of
from ophclip.corpus.simulate.production import Script
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES

CLIP_S = 3.0
SHORTEST_S = 0.5
RELEVANT = {
    "lens_implantation": ("implantation", "Implantation"),
    "irrigation_aspiration": ("irrigation_aspiration", "Irrigation_Aspiration Plus Viscoelastic_suction"),
    "phacoemulsification": ("phacoemulsification", "Phacoemulification"),
    "capsulorhexis": ("rhexis", "Rhexis"),
}
SPLIT_FOLDERS = {"train": "training", "test": "test"}


def _clips(script: Script, seconds: float) -> list[tuple[str, float, float]]:
    """Return phase, start and length of a clip of each segment that is long enough for one."""
    found = [
        (part.phase, part.start_s, min(CLIP_S, part.end_s - part.start_s)) for part in segments_of(script)
    ]
    return [clip for clip in found if clip[2] >= SHORTEST_S]


def catreldet(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan CatRelDet: for each relevant phase its clips and the rest, in both splits."""
    plan = Plan()
    for number, (script, split) in enumerate(zip(scripts, splits_of(scripts), strict=True)):
        for index, (phase, start_s, length_s) in enumerate(_clips(script, seconds)):
            for relevant, (key, folder) in RELEVANT.items():
                side = folder if phase == relevant else "rest"
                path = out / folder / SPLIT_FOLDERS[split] / side / f"video{number:02d}_{index:02d}.mp4"
                plan.films.append(Film(path, script.part, seconds, start_s, length_s))
                plan.count(f"clips.{split}")
                if phase == relevant:
                    plan.shown.add(key)
    return plan


def lensid(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan the recognition part of LensID: the implantation of the lens, and the rest."""
    plan = Plan()
    for number, (script, split) in enumerate(zip(scripts, splits_of(scripts), strict=True)):
        for index, (phase, start_s, length_s) in enumerate(_clips(script, seconds)):
            is_lens = phase == "lens_implantation"
            side = "Lens_implantation" if is_lens else "Rest"
            path = out / SPLIT_FOLDERS[split] / side / f"video{number:02d}_{index:02d}.mp4"
            plan.films.append(Film(path, script.part, seconds, start_s, length_s))
            plan.count(f"clips.{split}")
            plan.shown.add("lens_implantation" if is_lens else "rest")
    return plan


def ophnet_phase(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan OphNet's phases: one CSV in seconds, 51 for the others, names in a file of their own."""
    ids = {term.key: number for number, term in enumerate(PHASES)}
    plan = _ophnet(out, scripts, seconds, "phase", ids, others=51)
    return plan


def ophnet_operation(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan OphNet's operations: as its phases, but with a byte order mark and 106 for the others."""
    ids = {term.key: 2 * number for number, term in enumerate(INSTRUMENTS)}
    return _ophnet(out, scripts, seconds, "operation", ids, others=106)


def _ophnet(
    out: Path, scripts: Sequence[Script], seconds: float, level: str, ids: dict[str, int], *, others: int
) -> Plan:
    plan = Plan()
    columns = "phase_id,operation_id" if level == "operation" else "phase_id"
    rows = [f"video_id,start,end,split,surgery_id,{columns}"]
    for number, (script, split) in enumerate(zip(scripts, splits_of(scripts), strict=True)):
        video = f"case_{number + 2:04d}"
        for part in segments_of(script):
            used = part.instruments[0].instrument if part.instruments else ""
            key = part.phase if level == "phase" else used
            label = ids.get(key, others)
            values = f"{label}" if level == "phase" else f"0,{label}"
            rows.append(f"{video},{part.start_s:g},{part.end_s:g},{split},0,{values}")
            plan.count("clips")
            plan.count(f"clips.{split}")
            if label != others:
                plan.shown.add(_plain(key))
        path = out / "videos" / f"{video}.mp4"
        plan.films.append(Film(path, script.part, seconds, seconds=seconds))
        plan.count("videos")
    suffix = "_phase" if level == "phase" else ""
    encoding = "utf-8" if level == "phase" else "utf-8-sig"
    plan.write_text(out / f"OphNet2024_loca_challenge{suffix}.csv", rows, encoding=encoding)
    names = [f"{number},{_plain(key)}," for key, number in ids.items()]
    plan.write_text(out / "labels.csv", ["id,name,prompt", *names])
    return plan


def _plain(key: str) -> str:
    return key.replace("_", " ")
