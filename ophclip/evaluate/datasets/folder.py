# SPDX-License-Identifier: Apache-2.0
"""A dataset of your own: `labels.csv` with path, start_s, end_s, and phase or instruments or both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ophclip.errors import OphclipError
from ophclip.evaluate.datasets.delimited import number, table
from ophclip.evaluate.datasets.labels import rows_between
from ophclip.evaluate.datasets.reading import Adapter, Facts, Findings, Reading, Recording, Span
from ophclip.evaluate.prompts import load_prompts
from ophclip.video import probe

TABLE, PROMPTS = "labels.csv", "prompts.toml"

FACTS = Facts(
    name="folder",
    title="A dataset of your own",
    task="phase and instruments",
    unit="second",
    classes=(),
    licence="yours",
    where=f"a folder with {TABLE} (path,start_s,end_s,phase,instruments,split) and {PROMPTS}",
    split="column split: test is scored where any row says test, else all",
)

Rows = list[tuple[int, dict[str, str], Fraction, Fraction | None]]


def _read(root: Path, findings: Findings, thorough: bool) -> Reading:
    path = root / TABLE
    videos: dict[str, Rows] = {}
    for line, row in table(path, ("path", "start_s", "end_s"), findings):
        start = number(row["start_s"], "start_s", findings, path, line)
        end = number(row["end_s"], "end_s", findings, path, line) if row["end_s"] else None
        if "phase" not in row and "instruments" not in row:
            findings.error("malformed", "there must be a column phase or instruments", path, 1)
            break
        if start is None or (end is None and row["end_s"]):
            continue
        if end is not None and end <= start:
            said = f"end_s must be greater than start_s, got {row['start_s']} to {row['end_s']}"
            findings.error("malformed", said, path, line)
        elif not row["path"]:
            findings.error("malformed", "path must name a video, got an empty field", path, line)
        else:
            videos.setdefault(row["path"], []).append((line, row, start, end))
    phases = _classes(root, "phases", _said(videos, "phase"), findings)
    instruments = _classes(root, "instruments", _said(videos, "instruments"), findings)
    recordings = [
        _recording(root, name, rows, phases, instruments, findings) for name, rows in videos.items()
    ]
    _find_same_ids(path, recordings, videos, findings)
    tested = any(recording.split == "test" for recording in recordings)
    return Reading(recordings, phases, instruments, str(root / PROMPTS), "test" if tested else "")


def _said(videos: dict[str, Rows], column: str) -> dict[str, int]:
    """Return the names that a column says, each with the line where it is said first."""
    found: dict[str, int] = {}
    for rows in videos.values():
        for line, row, _, _ in rows:
            for name in filter(None, (part.strip() for part in row.get(column, "").split("|"))):
                found.setdefault(name, line)
    return found


def _classes(root: Path, task: str, said: dict[str, int], findings: Findings) -> tuple[str, ...]:
    """Return the classes in the order of the prompts, or of the table where there are no prompts."""
    if not said or not (root / PROMPTS).is_file():
        return tuple(said)
    try:
        names = tuple(load_prompts(str(root / PROMPTS)).tables["names"].get(task, {}))
    except OphclipError as error:
        findings.error("unreadable", error.message, root / PROMPTS)
        return tuple(said)
    for name, line in said.items():
        if name not in names:
            found = f"{name!r} must be one of the {task} in {PROMPTS}"
            findings.error("unknown-label", found, root / TABLE, line)
    return names


def _recording(
    root: Path,
    name: str,
    rows: Rows,
    phases: Sequence[str],
    instruments: Sequence[str],
    findings: Findings,
) -> Recording:
    path, line = root / name, rows[0][0]
    splits = {row.get("split", "") for _, row, _, _ in rows}
    if len(splits) > 1:
        said = f"the split must be one within {name}, got {', '.join(sorted(splits))}"
        findings.error("unknown-split", said, root / TABLE, line)
    if any(end is None for _, _, _, end in rows):
        length = _length(path, findings)
        rows = [(at, row, start, length if end is None else end) for at, row, start, end in rows]
    spans = [
        Span(start, end, phases.index(row["phase"]), at)
        for at, row, start, end in rows
        if row.get("phase") in phases and end is not None
    ]
    ends = [end for _, _, _, end in rows if end is not None]
    return Recording(
        path.stem,
        path,
        root / TABLE,
        line,
        sorted(splits)[0],
        tuple(spans),
        presence=_presence(rows, instruments, ends) if instruments else None,
        length=max(ends, default=None),
    )


def _length(path: Path, findings: Findings) -> Fraction | None:
    try:
        info = probe(path)
    except OphclipError:
        return None  # missing or damaged: said by others
    return info.end_pts * info.time_base - info.start


def _presence(rows: Rows, instruments: Sequence[str], ends: list[Fraction]) -> np.ndarray[Any, Any]:
    fps = Fraction(FACTS.fps)
    presence = np.zeros((math.ceil(max(ends, default=Fraction(0)) * fps), len(instruments)), dtype=np.int64)
    for _, row, start, end in rows:
        if end is not None:
            part = rows_between(start, end, fps)
            seen = [part.strip() for part in row.get("instruments", "").split("|")]
            presence[
                part.start : part.stop, [instruments.index(name) for name in seen if name in instruments]
            ] = 1
    return presence


def _find_same_ids(
    path: Path, recordings: list[Recording], videos: dict[str, Rows], findings: Findings
) -> None:
    seen: dict[str, str] = {}
    for recording, (name, rows) in zip(recordings, videos.items(), strict=True):
        if recording.video_id in seen:
            said = f"the videos {seen[recording.video_id]} and {name} must differ in their names"
            findings.error("duplicate", said, path, rows[0][0])
        seen.setdefault(recording.video_id, name)


ADAPTER = Adapter(FACTS, _read)
