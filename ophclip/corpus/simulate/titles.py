# SPDX-License-Identifier: Apache-2.0
"""Titles of drawn videos: the raw one of an uploader, and the structured one that a rewriter makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ophclip.corpus.simulate.grammar import chance, expand, pick
from ophclip.corpus.simulate.procedures import Timeline
from ophclip.corpus.simulate.speech import load_speech
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES, PROCEDURES

PARTIAL_PROBABILITY = 0.3  # of a structured title that leaves out what is short or seldom seen
VAGUE_PROBABILITY = 0.15  # of a raw title that names nothing

_NAMES = {term.key: term.name for term in (*PROCEDURES, *PHASES, *INSTRUMENTS)}
_PHASE_KEYS = frozenset(term.key for term in PHASES)

_RULES: dict[str, tuple[str, ...]] = {
    "case": ("Case {1|2|3|4|7|12|31} - ", "Case #{1|5|9|24}: ", "{2021|2022|2023|2024} | ", "LIVE: "),
    "surgeon": ("Dr {A|B|K|M|R|S|T}.{A|C|L|P|W}.", "{J|K|L|M}{B|D|N}", "Eye Clinic OR {1|2|3}"),
    "tag": ("#{eyesurgery|ophthalmology|surgery}", "#{eye|retina|cornea|cataract}", "{HD|4K|uncut|no audio}"),
    "quality": ("difficult", "routine", "step by step", "my first", "challenging", "complete", "high myopia"),
}

_NAMED: tuple[str, ...] = (
    "{<case>|}{<quality> |}<procedure>{ - <surgeon>|}{ <tag>|}",
    "<procedure>: <phase>{, <quality>|}{ <tag>|}",
    "{How I do|Tips for|Mastering} <phase> in <procedure>{, by <surgeon>|}",
    "<procedure> {surgery video|full video|unedited|in five minutes}{ <tag>|}{ <tag>|}",
    "{<case>|}<procedure> {in a small pupil|in a diabetic eye|in an only eye|after trauma}{ - <surgeon>|}",
)
_VAGUE: tuple[str, ...] = (
    "Complex eye today!{ <tag>|}",
    "{You won't believe this eye|What would you do here?|Never give up}{ <tag>|}",
    "{<case>|}{OR day|surgery day|Wednesday list} <surgeon>{ <tag>|}",
    "{MVI|VID|REC|capture}_{0|1|2}{1|4|7}{0|3|8|9}{2|5|6}",
    "{untitled|new video|for my residents}{ {2|3|final|final final}|}",
)
_EMOJIS = ("👁️", "🔥", "😮", "🙏", "✨")


@dataclass(frozen=True)
class Titles:
    """The title as uploaded, and the structured one that names procedure, phases and instruments."""

    raw: str
    structured: str


def draw_titles(rng: np.random.Generator, timeline: Timeline) -> Titles:
    """Draw the titles of a video; the same `rng` state gives the same titles."""
    return Titles(_raw_title(rng, timeline), _structured_title(rng, timeline))


def _raw_title(rng: np.random.Generator, timeline: Timeline) -> str:
    phases = _shown_phases(timeline)
    template = pick(rng, _VAGUE if chance(rng, VAGUE_PROBABILITY) or not phases else _NAMED)
    spans = _spans(timeline)
    weights = np.array([spans[phase] for phase in phases])
    phase = phases[int(rng.choice(len(phases), p=weights / weights.sum()))] if phases else ""
    speech = load_speech()
    names = (_NAMES[timeline.procedure], *speech.procedure_names[timeline.procedure])
    rules = {**_RULES, "procedure": names, "phase": speech.phase_names.get(phase, ("",))}
    title = _styled(rng, expand(rng, template, rules))
    return f"{title} {pick(rng, _EMOJIS)}" if chance(rng, 0.06) else title


def _styled(rng: np.random.Generator, title: str) -> str:
    style = rng.random()
    if style < 0.12:
        return title.upper()
    if style < 0.24:
        return title.lower()
    if style < 0.5:
        return " ".join(word[:1].upper() + word[1:] for word in title.split())
    return title[:1].upper() + title[1:]


def _structured_title(rng: np.random.Generator, timeline: Timeline) -> str:
    phases, instruments = _shown_phases(timeline), _shown_instruments(timeline)
    if chance(rng, PARTIAL_PROBABILITY):
        spans = _spans(timeline)
        phases = _longest(phases, [spans[phase] for phase in phases])
        instruments = _longest(instruments, [spans[instrument] for instrument in instruments])
    procedure = _NAMES[timeline.procedure]
    named_phases = ", ".join(_NAMES[key].lower() for key in phases)
    named_instruments = ", ".join(_NAMES[key].lower() for key in instruments)
    form = pick(rng, _FORMS if named_phases and named_instruments else ("{procedure}",))
    title = form.format(procedure=procedure, phases=named_phases, instruments=named_instruments)
    return title[:1].upper() + title[1:]


_FORMS = (
    "{procedure}; phases: {phases}; instruments: {instruments}",
    "{procedure}; phases: {phases}; instruments: {instruments}",
    "{procedure} showing {phases}, performed with {instruments}",
    "{procedure}. Steps: {phases}. Instruments used: {instruments}",
)


def _longest(keys: Sequence[str], spans_s: Sequence[float]) -> list[str]:
    kept = max(1, round(0.7 * len(keys)))
    ranked = sorted(range(len(keys)), key=lambda index: -spans_s[index])[:kept]
    return [keys[index] for index in sorted(ranked)]


def _shown_phases(timeline: Timeline) -> list[str]:
    return list(dict.fromkeys(part.phase for part in timeline.segments if part.phase in _PHASE_KEYS))


def _shown_instruments(timeline: Timeline) -> list[str]:
    return list(dict.fromkeys(use.instrument for part in timeline.segments for use in part.instruments))


def _spans(timeline: Timeline) -> dict[str, float]:
    spans: dict[str, float] = {}
    for part in timeline.segments:
        spans[part.phase] = spans.get(part.phase, 0.0) + part.end_s - part.start_s
        for use in part.instruments:
            spans[use.instrument] = spans.get(use.instrument, 0.0) + use.end_s - use.start_s
    return spans
