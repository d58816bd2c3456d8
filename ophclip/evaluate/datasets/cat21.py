# SPDX-License-Identifier: Apache-2.0
"""Cataract-21: `training/` and `validation/` with `<video>.mp4` beside `<video>.csv`, rows `frame,label`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate.datasets.delimited import text_of, whole
from ophclip.evaluate.datasets.media import files_under, is_video, video_beside
from ophclip.evaluate.datasets.reading import (
    BACKGROUND,
    Adapter,
    Facts,
    Findings,
    Published,
    Reading,
    Recording,
    Span,
)

RATE = Fraction(25)  # not in the files; that of the clinic's other recordings. A check compares the videos
MAX_FRAME = 10**8
MAX_STEP = 25  # frames: rows further apart leave a hole, for nothing says what is between them
SPLITS = {"training": "train", "validation": "val"}
OUTSIDE = "not_initialized"

FACTS = Facts(
    name="cat21",
    title="Cataract-21 (ITEC cat-21)",
    task="phase",
    unit="second",
    classes=(
        "incision",
        "viscous_agent_injection",
        "rhexis",
        "hydrodissection",
        "phacoemulsification",
        "irrigation_and_aspiration",
        "capsule_polishing",
        "lens_implant_setting_up",
        "viscous_agent_removal",
        "tonifying_and_antibiotics",
    ),
    licence="non-commercial",
    where="ITEC, University of Klagenfurt: datasets/ovid/cat-21",
    split="official: 17 training, 4 validation videos; validation is scored",
    eval_split="val",
    background=OUTSIDE,
    gaps="defect",
    published=(
        Published("videos", 21),
        Published("videos.train", 17),
        Published("videos.val", 4),
    ),
    prompts="cataract_phases.toml",
)

# Labels are compared by their letters alone; the annotation tool also wrote German ones.
SPELLINGS = {
    "antibiotikum": "tonifying_and_antibiotics",
    "tonisieren": "tonifying_and_antibiotics",
    "hydrodissektion": "hydrodissection",
    "irrigationaspiration": "irrigation_and_aspiration",
    "kapselpolishing": "capsule_polishing",
    "linsenimplantation": "lens_implant_setting_up",
    "phako": "phacoemulsification",
    "phacoemulsificiation": "phacoemulsification",
    "viscoabsaugung": "viscous_agent_removal",
    "viscoelasticum": "viscous_agent_injection",
} | {name.replace("_", ""): name for name in FACTS.classes}


def letters(label: str) -> str:
    """Return the letters of a label in lower case: how it is compared."""
    return re.sub(r"[\W_]+", "", label).casefold()


def _read(root: Path, findings: Findings, thorough: bool) -> Reading:
    recordings = []
    for folder, split in SPLITS.items():
        if not (root / folder).is_dir():
            findings.error("missing-file", f"there must be a folder {folder}", root / folder)
            continue
        tables = [path for path in files_under(root / folder) if path.suffix.lower() == ".csv"]
        recordings += [_recording(path, split, findings) for path in tables]
        for video in files_under(root / folder):
            if is_video(video) and not video.with_suffix(".csv").is_file():
                findings.error("unlabelled-video", f"has no {video.stem}.csv beside it", video)
    return Reading(recordings)


def _recording(path: Path, split: str, findings: Findings) -> Recording:
    video = video_beside(path.with_suffix(""))
    spans = tuple(_spans(path, findings))
    if not spans and all(finding.file != path for finding in findings.found):
        findings.error("malformed", "must hold rows frame,label, got an empty file", path, 1)
    return Recording(path.stem, video, path, split=split, spans=spans, rate=RATE)


def _spans(path: Path, findings: Findings) -> Iterator[Span]:
    """Yield the runs of one label; a row holds until the next one, or for one step before a hole."""
    lines, frames, labels = _rows(path, findings)
    if not len(frames):
        return
    steps = np.diff(frames)
    step = int(np.median(steps[steps <= MAX_STEP])) if (steps <= MAX_STEP).any() else 1
    starts = np.flatnonzero((np.diff(labels) != 0) | (steps > MAX_STEP)) + 1
    for start, stop in pairwise((0, *starts.tolist(), len(frames))):
        last = int(frames[stop - 1])
        is_followed = stop < len(frames) and frames[stop] - last <= MAX_STEP
        end = int(frames[stop]) if is_followed else last + step
        yield Span(int(frames[start]) / RATE, end / RATE, int(labels[start]), int(lines[start]))


def _rows(path: Path, findings: Findings) -> NDArray[np.int64]:
    """Return line, frame and label of each row `[3, N]`, frames rising; the others are errors."""
    numbers: dict[str, int] = {}
    rows: list[tuple[int, int, int]] = []
    last = -1
    # Ten hours have a million rows: they are split by hand, and each label is looked up once.
    for line, row in enumerate(text_of(path, findings).splitlines(), start=1):
        text, comma, name = row.partition(",")
        label = numbers.get(name)
        if label is None:
            label = numbers[name] = _label(name)
        if label >= BACKGROUND and text.isdecimal() and text.isascii() and last < int(text) < MAX_FRAME:
            last = int(text)
            rows.append((line, last, label))
        elif row.strip():
            _explain(text, comma, name, label, last, findings, path, line)
    return np.array(rows, dtype=np.int64).reshape(-1, 3).T


def _explain(
    text: str, comma: str, name: str, label: int, last: int, findings: Findings, path: Path, line: int
) -> None:
    if not comma:
        findings.error("malformed", f"a row must be frame,label, got {text!r}", path, line)
        return
    frame = whole(text, "the frame", findings, path, line)
    if label < BACKGROUND:
        findings.error("unknown-label", f"the label must be one of cat-21's, got {name!r}", path, line)
    elif frame is not None and frame == last:
        findings.error("duplicate", "the frame is there twice", path, line)
    elif frame is not None:
        findings.error("malformed", f"frames must rise, got {frame} after {last}", path, line)


def _label(name: str) -> int:
    if letters(name) == letters(OUTSIDE):
        return BACKGROUND
    known = SPELLINGS.get(letters(name))
    return FACTS.classes.index(known) if known else BACKGROUND - 1


ADAPTER = Adapter(FACTS, _read)
