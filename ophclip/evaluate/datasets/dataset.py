# SPDX-License-Identifier: Apache-2.0
"""What evaluation asks of a dataset: videos with one label a row, made from what an adapter reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ophclip.errors import UsageError
from ophclip.evaluate.datasets.labels import UNSCORED as UNSCORED
from ophclip.evaluate.datasets.labels import label_rows, num_disputed_rows
from ophclip.evaluate.datasets.reading import BACKGROUND, Adapter, Facts, Findings, Reading, Recording, Unit
from ophclip.evaluate.datasets.registry import adapter_of

SHOWN_ERRORS = 5  # bad places that one error names before it only counts them


@dataclass(frozen=True)
class Clip:
    """A stretch of a video with one label, half-open seconds; an `end_s` of None is the video's end."""

    start_s: float
    end_s: float | None
    label: int


@dataclass(frozen=True)
class Item:
    """A video to evaluate; row t of the labels is what is seen at second `t / fps` of the dataset.

    Where the dataset is of pictures, `path` is their folder, `pictures` the files, and row t is picture t.
    Where it is of clips, `clips` are what is labelled; `phases` has their labels a row as well, or, for a
    clip that is a file, one row that stands for all.
    """

    video_id: str
    path: Path
    phases: NDArray[np.int64] | None = None  # [T], -1 where not scored
    instruments: NDArray[np.int64] | None = None  # 0/1 [T, C]
    split: str = ""
    pictures: tuple[Path, ...] = ()
    clips: tuple[Clip, ...] = ()

    @property
    def is_one_clip(self) -> bool:
        """Whether one label holds for the whole file, however long it is."""
        return len(self.clips) == 1 and self.clips[0].end_s is None


@dataclass(frozen=True)
class Dataset:
    """An evaluation set: items, class names, and where it comes from."""

    name: str
    items: list[Item]
    phase_names: list[str] = field(default_factory=list)
    instrument_names: list[str] = field(default_factory=list)
    fps: float = 1.0
    prompts: str = ""  # file in ophclip/evaluate/prompt_sets, or a path
    source: str = ""
    licence: str = ""
    notes: list[str] = field(default_factory=list)  # what a reader of the scores must know
    unit: Unit = "second"  # what a label is of


def load_dataset(name: str, root: Path, *, keep_background: bool = False, split: str = "") -> Dataset:
    """Read the dataset `name` from its folder.

    Frames outside every phase are not scored unless `keep_background`. `split` is one of the dataset's own,
    or "all"; by default it is the one to score, which is all videos where there is no official split.

    Raises:
        UsageError: there is no such dataset or split, or the folder does not hold it as distributed; the
            first few places are named with file and line.
    """
    adapter = adapter_of(name)
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder", remedy=f"pass the folder of {name} as --root")
    findings = Findings()
    reading = adapter.read(root, findings, False)
    _refuse_errors(adapter.facts, root, findings)
    wanted = split or reading.eval_split or adapter.facts.eval_split
    recordings = _of_split(adapter.facts, root, reading.recordings, wanted)
    _refuse_missing(name, recordings)
    return _dataset(adapter, reading, recordings, findings, keep_background)


def _refuse_errors(facts: Facts, root: Path, findings: Findings) -> None:
    errors = findings.of("error")
    if not errors:
        return
    shown = [str(finding) for finding in errors[:SHOWN_ERRORS]]
    if len(errors) > len(shown):
        shown.append(f"... and {len(errors) - len(shown)} more")
    raise UsageError(
        "\n".join(shown),
        remedy=f"mend the download; all of it: ophclip evaluate --check --dataset {facts.name} --root {root}",
    )


def _of_split(facts: Facts, root: Path, recordings: list[Recording], wanted: str) -> list[Recording]:
    if not recordings:
        raise UsageError(f"{root} holds no labelled video of {facts.name}", remedy="see docs/datasets.md")
    if not wanted or wanted == "all":
        return recordings
    chosen = [recording for recording in recordings if recording.split == wanted]
    if not chosen:
        there = sorted({recording.split for recording in recordings} - {""})
        raise UsageError(
            f"{root} has no {wanted} videos, got the splits: {', '.join(there) or 'none'}",
            remedy=f"pass a split that is there, or all; {facts.name}: {facts.split}",
        )
    return chosen


def _refuse_missing(name: str, recordings: list[Recording]) -> None:
    paths = [recording.pictures or (recording.path,) for recording in recordings]
    missing = [files for files in paths if not all(file.is_file() for file in files)]
    if missing:
        first = next(file for file in missing[0] if not file.is_file())
        raise UsageError(
            f"{len(missing)} of {len(paths)} videos of {name} are missing, first {first}",
            remedy="finish the download",
        )


def _dataset(
    adapter: Adapter, reading: Reading, recordings: list[Recording], findings: Findings, keep: bool
) -> Dataset:
    facts = adapter.facts
    phases = list(reading.phases or (facts.classes if facts.task == "phase" else ()))
    instruments = list(reading.instruments or (facts.classes if facts.task == "instruments" else ()))
    keep = keep and bool(facts.background) and bool(phases)
    background = len(phases) if keep else UNSCORED
    if facts.unit == "clip":  # the notes say what becomes of background
        recordings = [recording for recording in recordings if _clips(recording, background)]
        if not recordings:
            raise UsageError(f"{facts.name} has only background to score", remedy="keep the background")
    return Dataset(
        name=facts.name,
        items=[_item(facts, recording, background, has_phases=bool(phases)) for recording in recordings],
        phase_names=[*phases, facts.background] if keep else phases,
        instrument_names=instruments,
        fps=facts.fps,
        prompts=reading.prompts or facts.prompts,
        source=facts.where,
        licence=facts.licence,
        notes=[*_notes(facts, recordings, keep), *_told(findings)],
        unit=facts.unit,
    )


def _item(facts: Facts, recording: Recording, background: int, *, has_phases: bool) -> Item:
    return Item(
        video_id=recording.video_id,
        path=recording.path,
        phases=_phases(facts, recording, background) if has_phases else None,
        instruments=recording.presence,
        split=recording.split,
        pictures=recording.pictures,
        clips=tuple(_clips(recording, background)) if facts.unit == "clip" else (),
    )


def _phases(facts: Facts, recording: Recording, background: int) -> NDArray[np.int64]:
    spans = recording.spans
    if len(spans) == 1 and spans[0].end is None:
        label = background if spans[0].label == BACKGROUND else spans[0].label
        return np.array([label], dtype=np.int64)
    gaps = background if facts.gaps == "background" else UNSCORED
    rows = label_rows(spans, Fraction(facts.fps), background=background, gaps=gaps)
    if recording.length is None:
        return rows
    whole = np.full(math.ceil(recording.length * Fraction(facts.fps)), UNSCORED, dtype=np.int64)
    length = min(len(rows), len(whole))
    whole[:length] = rows[:length]
    return whole if len(whole) >= len(rows) else rows


def _clips(recording: Recording, background: int) -> list[Clip]:
    return [
        Clip(
            float(span.start),
            None if span.end is None else float(span.end),
            background if span.label == BACKGROUND else span.label,
        )
        for span in recording.spans
        if span.label != BACKGROUND or background != UNSCORED
    ]


def _notes(facts: Facts, recordings: list[Recording], keep: bool) -> list[str]:
    notes = []
    if facts.background:
        treated = "are a class" if keep else "are not scored"
        what = {"second": "seconds", "clip": "clips", "picture": "pictures"}[facts.unit]
        notes.append(f"{facts.background} {what} {treated}")
    fps = Fraction(facts.fps)
    disputed = sum(num_disputed_rows(recording.spans, fps) for recording in recordings)
    if disputed:
        notes.append(f"{disputed} rows carry two labels at once and are not scored")
    if facts.unit == "picture":
        notes.append("a row is a picture, not a second")
    return notes


def _told(findings: Findings) -> list[str]:
    told: dict[str, int] = {}
    for finding in findings.of("warning"):
        told[finding.kind] = told.get(finding.kind, 0) + 1
    return [f"defects of the download ({kind}): {count}" for kind, count in sorted(told.items())]
