# SPDX-License-Identifier: Apache-2.0
"""What happens in a video: a procedure, its phases in time, and which instruments work in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ophclip.corpus.simulate.scripts import SCRIPTS, Step
from ophclip.errors import UsageError, did_you_mean

IDLE = "idle"
SECONDS_PER_STEP = 7.0  # a 30 s video shows 3 to 5 phases
IDLE_PROBABILITY = 0.4
FROM_THE_START_PROBABILITY = 0.35


@dataclass(frozen=True)
class Use:
    """An instrument at work from `start_s` to `end_s` (half open), seconds of the video."""

    instrument: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Segment:
    """A phase, or "idle", from `start_s` to `end_s` (half open), with the uses inside it."""

    phase: str
    start_s: float
    end_s: float
    instruments: Sequence[Use]


@dataclass(frozen=True)
class Timeline:
    """A video's course: segments in order, without holes, and what was over before it began."""

    procedure: str
    seconds: float
    segments: Sequence[Segment]
    done_before: Sequence[str] = ()  # phases that left their marks before the first frame


def draw_timeline(rng: np.random.Generator, procedure: str, seconds: float) -> Timeline:
    """Draw the course of a video of one procedure; the same `rng` state gives the same course.

    Phases keep the order of surgery, some are skipped, some come again; many videos start mid-case. Between
    phases the eye may rest for a second or two, which is "idle".

    Raises:
        UsageError: the procedure is unknown, or `seconds` is not positive.
    """
    if procedure not in SCRIPTS:
        raise UsageError(f"unknown procedure {procedure!r}", remedy=did_you_mean(procedure, SCRIPTS))
    if not seconds > 0:
        raise UsageError(f"seconds must be positive, got {seconds}", remedy="pass a length such as 30")
    script = [step for step in SCRIPTS[procedure] if rng.random() < step.probability]
    count = int(np.clip(round(seconds / SECONDS_PER_STEP + rng.uniform(-0.8, 0.8)), 1, len(script)))
    first = 0
    if rng.random() > FROM_THE_START_PROBABILITY:
        latest = max(len(script) - count, len(script) // 2)  # even a short operation is often joined late
        first = int(rng.integers(0, latest + 1))
    shown = script[first : first + count]
    spans = _spans(rng, shown, seconds)
    return Timeline(
        procedure,
        float(seconds),
        tuple(_segment(rng, step, start_s, end_s) for step, start_s, end_s in spans),
        tuple(dict.fromkeys(step.phase for step in script[:first])),
    )


def _spans(
    rng: np.random.Generator, shown: Sequence[Step], seconds: float
) -> list[tuple[Step | None, float, float]]:
    parts: list[tuple[Step | None, float]] = []
    for step in shown:
        rest = IDLE_PROBABILITY if parts else 0.6
        if rng.random() < rest:
            parts.append((None, rng.uniform(0.8, 2.5)))
        parts.append((step, step.weight * rng.uniform(0.7, 1.5)))
    if rng.random() < IDLE_PROBABILITY:
        parts.append((None, rng.uniform(0.8, 2.5)))
    scale = seconds / sum(length for _, length in parts)
    ends = np.round(np.cumsum([length * scale for _, length in parts]), 2)
    ends[-1] = seconds
    starts = [0.0, *ends[:-1]]
    return [
        (step, float(start), float(end))
        for (step, _), start, end in zip(parts, starts, ends, strict=True)
        if end > start
    ]


def _segment(rng: np.random.Generator, step: Step | None, start_s: float, end_s: float) -> Segment:
    if step is None:
        return Segment(IDLE, start_s, end_s, ())
    hands = step.hands[int(rng.integers(len(step.hands)))]
    lead_s = min(0.5, 0.1 * (end_s - start_s))
    uses: list[Use] = []
    for hand in hands:  # the instruments of one hand follow each other
        cuts = [start_s + lead_s * float(rng.random())]
        cuts += [
            start_s + (end_s - start_s) * (i + rng.uniform(-0.15, 0.15)) / len(hand)
            for i in range(1, len(hand))
        ]
        cuts.append(end_s - lead_s * float(rng.random()))
        uses += [
            Use(tool, round(float(a), 2), min(round(float(b), 2), end_s))
            for tool, a, b in zip(hand, cuts[:-1], cuts[1:], strict=True)
        ]
    return Segment(step.phase, start_s, end_s, tuple(uses))
