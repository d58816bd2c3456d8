# SPDX-License-Identifier: Apache-2.0
"""What the surgeon says over a drawn video: mostly of what is seen, a little early or late, with slips."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ophclip.corpus.simulate.grammar import chance, expand, pick
from ophclip.corpus.simulate.procedures import IDLE, Segment, Timeline
from ophclip.corpus.simulate.slips import mishear, punctuate, slur
from ophclip.corpus.simulate.speech import load_speech

LAG_STD_S = 0.8  # how far what is said runs ahead of, or behind, what is seen
MAX_LAG_S = 2.0
ASIDE_PROBABILITY = 0.12
REMARK_PROBABILITY = 0.1
JOIN_PROBABILITY = 0.35  # of naming both phases, for a narration that spans a change
HANDLING_PROBABILITY = 0.35

PLURAL = frozenset({"capsulorhexis_forceps", "scissors", "forceps"})


@dataclass(frozen=True)
class Narration:
    """One transcribed utterance, in seconds of the video."""

    start_s: float
    end_s: float
    text: str


def draw_narration(rng: np.random.Generator, timeline: Timeline) -> list[Narration]:
    """Draw what is said over a video: utterances of 2 to 6 s in order, with pauses between them.

    Utterances do not overlap and stay inside the video; only the last may be shorter. The same `rng`
    state gives the same narration. A video of a second or more has at least one utterance.
    """
    total_s = timeline.seconds
    narrations: list[Narration] = []
    start_s = float(rng.uniform(0, min(1.5, total_s / 4)))
    while start_s < total_s:
        end_s = min(start_s + float(rng.uniform(2, 6)), total_s)
        if narrations and end_s - start_s < 1:
            break
        text = draw_utterance(rng, timeline, start_s, end_s)
        narrations.append(Narration(_to_centiseconds(start_s), _to_centiseconds(end_s), text))
        pause_s = rng.exponential(4.0) if chance(rng, 0.2) else rng.uniform(0.1, 1.0)
        start_s = end_s + float(pause_s)
    return narrations


def draw_utterance(rng: np.random.Generator, timeline: Timeline, start_s: float, end_s: float) -> str:
    """Draw what is said between two times of a video, as a transcript has it."""
    if chance(rng, ASIDE_PROBABILITY):
        return _transcribed(rng, _talk(rng, "asides"))
    lag_s = float(np.clip(rng.normal(0, LAG_STD_S), -MAX_LAG_S, MAX_LAG_S))
    before, after = (_segment_at(timeline, time_s - lag_s) for time_s in (start_s, end_s))
    seen_s = (start_s + end_s) / 2 - lag_s
    seen = _segment_at(timeline, seen_s)
    phases = [segment.phase for segment in (before, after) if segment and segment.phase != IDLE]
    if len(set(phases)) == 2 and chance(rng, JOIN_PROBABILITY):
        join = _talk(rng, "joins").replace("<next>", f"<{phases[1]}>").replace("<phase>", f"<{phases[0]}>")
        return _transcribed(rng, join)
    if seen is None or seen.phase == IDLE:
        return _transcribed(rng, _talk(rng, "rests"))
    instruments = [use.instrument for use in seen.instruments if use.start_s <= seen_s < use.end_s]
    return draw_sentence(rng, seen.phase, instruments, _phase_after(timeline, seen))


def draw_sentence(
    rng: np.random.Generator, phase: str, instruments: list[str] | None = None, next_phase: str | None = None
) -> str:
    """Draw a sentence on a phase, or on one of the instruments at work in it, as a transcript has it."""
    if chance(rng, REMARK_PROBABILITY):
        template = _talk(rng, "remarks")
        if next_phase is None and "<next>" in template:
            template = load_speech().talk["remarks"][0]
        template = template.replace("<next>", f"<{next_phase}>")
    elif instruments and chance(rng, HANDLING_PROBABILITY):
        template = _handling(rng, phase, pick(rng, instruments))
    else:
        template = pick(rng, load_speech().phases[phase])
    return _transcribed(rng, template.replace("<phase>", f"<{phase}>"))


def _handling(rng: np.random.Generator, phase: str, instrument: str) -> str:
    action = pick(rng, load_speech().instrument_actions[instrument])
    template = _talk(rng, "handling").replace("<action>", action)
    template = template.replace("<main>", pick(rng, load_speech().phases[phase]))
    pronoun = "they" if instrument in PLURAL else "it"
    return template.replace("<instrument>", f"<{instrument}>").replace("<it>", pronoun)


def _to_centiseconds(time_s: float) -> float:
    return math.floor(time_s * 100) / 100  # down, so that no utterance outlasts the video


def _talk(rng: np.random.Generator, topic: str) -> str:
    return pick(rng, load_speech().talk[topic])


def _transcribed(rng: np.random.Generator, template: str) -> str:
    text = expand(rng, template, load_speech().rules)
    if chance(rng, 0.18):
        text = f"{_talk(rng, 'fillers')}, {text}"
    if chance(rng, 0.1):
        text = f"{text}, {_talk(rng, 'hedges')}"
    return punctuate(rng, slur(rng, mishear(rng, text)))


def _segment_at(timeline: Timeline, time_s: float) -> Segment | None:
    return next((part for part in timeline.segments if part.start_s <= time_s < part.end_s), None)


def _phase_after(timeline: Timeline, segment: Segment) -> str | None:
    later = (part.phase for part in timeline.segments if part.start_s >= segment.end_s and part.phase != IDLE)
    return next((phase for phase in later if phase != segment.phase), None)
