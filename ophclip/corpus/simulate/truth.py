# SPDX-License-Identifier: Apache-2.0
"""The ground truth of simulated videos: what is on at every whole second, in `truth.csv`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ophclip.corpus.simulate.procedures import IDLE, Timeline
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES, PROCEDURES
from ophclip.corpus.tables import Problems, Row, read_rows, write_rows
from ophclip.errors import UsageError, did_you_mean

COLUMNS = ("video_id", "second", "procedure", "phase", "instruments")

_PROCEDURE_KEYS = frozenset(term.key for term in PROCEDURES)
_PHASE_KEYS = frozenset(term.key for term in PHASES) | {IDLE}  # idle is legal, but no class
_INSTRUMENT_KEYS = frozenset(term.key for term in INSTRUMENTS)


@dataclass(frozen=True)
class Truth:
    """What one video shows: `phases[t]` and `instruments[t]` are the state at t seconds, t = 0, 1, 2, ..."""

    procedure: str
    phases: list[str] = field(default_factory=list)
    instruments: list[frozenset[str]] = field(default_factory=list)


def truth_of(timeline: Timeline, seconds: float) -> Truth:
    """Return the state of a video of this length at each of its whole seconds 0, 1, ... below `seconds`.

    The state at second t is the one at t exactly, as a frame sampled at 1 fps shows it; spans are
    half-open, so an instrument or phase that ends at t is over. Times outside every segment are idle.
    """
    phases: list[str] = []
    instruments: list[frozenset[str]] = []
    for second in range(math.ceil(seconds)):
        active = [part for part in timeline.segments if part.start_s <= second < part.end_s]
        phases.append(active[0].phase if active else IDLE)
        uses = [use for part in timeline.segments for use in part.instruments]
        instruments.append(frozenset(use.instrument for use in uses if use.start_s <= second < use.end_s))
    return Truth(timeline.procedure, phases, instruments)


def write_truth(root: Path, truths: Mapping[str, Truth]) -> None:
    """Write `truth.csv` into the corpus folder `root`: one row a second, videos in the order given.

    Raises:
        UsageError: a key is not of the vocabulary, or a video's lists differ in length.
        OphclipError: the file cannot be written.
    """
    for video_id, truth in truths.items():
        _check_truth(video_id, truth)
    write_rows(Path(root) / "truth.csv", COLUMNS, _rows(truths))


def read_truth(root: Path) -> dict[str, Truth]:
    """Read `truth.csv` of the simulated corpus in the folder `root`; videos in the order of the file.

    Raises:
        UsageError: there is no such file, or rows are bad: an unknown key, a second out of order, or a
            second procedure for a video (each named with its line number).
    """
    path = Path(root) / "truth.csv"
    if not path.is_file():
        raise UsageError(
            f"{root} must be a simulated corpus, got no truth.csv in it",
            remedy="make one with 'ophclip corpus simulate'",
        )
    problems = Problems(path)
    truths: dict[str, Truth] = {}
    for row in read_rows(path, COLUMNS, problems):
        problem = _row_problem(row, truths)
        if problem:
            problems.add(row.line, problem)
            continue
        values = row.values
        truth = truths.setdefault(values["video_id"], Truth(values["procedure"]))
        truth.phases.append(values["phase"])
        truth.instruments.append(_split(values["instruments"]))
    problems.raise_if_any()
    return truths


def _rows(truths: Mapping[str, Truth]) -> Iterator[tuple[str, ...]]:
    for video_id, truth in truths.items():
        for second, (phase, instruments) in enumerate(zip(truth.phases, truth.instruments, strict=True)):
            yield video_id, str(second), truth.procedure, phase, "|".join(sorted(instruments))


def _split(instruments: str) -> frozenset[str]:
    return frozenset(instruments.split("|")) if instruments else frozenset()


def _row_problem(row: Row, truths: Mapping[str, Truth]) -> str | None:
    values = row.values
    if not values["video_id"].strip():
        return "video_id must not be empty"
    known = truths.get(values["video_id"])
    expected = len(known.phases) if known else 0
    if values["second"] != str(expected):
        return f"second must be {expected}, the next one of {values['video_id']!r}, got {values['second']!r}"
    if known and known.procedure != values["procedure"]:
        return f"procedure must stay {known.procedure!r} within a video, got {values['procedure']!r}"
    return _keys_problem(values["procedure"], {values["phase"]}, _split(values["instruments"]))


def _keys_problem(procedure: str, phases: set[str], instruments: frozenset[str]) -> str | None:
    for column, keys, known in (
        ("procedure", {procedure}, _PROCEDURE_KEYS),
        ("phase", phases, _PHASE_KEYS),
        ("instruments", set(instruments), _INSTRUMENT_KEYS),
    ):
        for key in sorted(keys - known):
            return f"{column} must name a key of the vocabulary, got {key!r}; {did_you_mean(key, known)}"
    return None


def _check_truth(video_id: str, truth: Truth) -> None:
    problem = _keys_problem(truth.procedure, set(truth.phases), frozenset().union(*truth.instruments))
    if len(truth.phases) != len(truth.instruments):
        problem = (
            f"phases and instruments must have the same length, "
            f"got {len(truth.phases)} and {len(truth.instruments)}"
        )
    if not video_id.strip():
        problem = "video_id must not be empty"
    if problem:
        raise UsageError(f"truth of {video_id!r}: {problem}", remedy="mend it before writing")
