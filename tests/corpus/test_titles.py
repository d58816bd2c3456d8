# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ophclip.corpus.simulate.procedures import Segment, Timeline, Use
from ophclip.corpus.simulate.speech import load_speech
from ophclip.corpus.simulate.titles import draw_titles
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES, PROCEDURES

NAMES = {term.key: term.name.lower() for term in (*PROCEDURES, *PHASES, *INSTRUMENTS)}


def timeline_of(procedure: str, phases: list[str], instruments: list[str]) -> Timeline:
    segments = [
        Segment(phase, 5.0 * index, 5.0 * index + 5, (Use(name, 5.0 * index, 5.0 * index + 4),))
        for index, (phase, name) in enumerate(zip(phases, instruments, strict=True))
    ]
    return Timeline(procedure, 5.0 * len(phases), tuple(segments))


WHOLE = timeline_of(
    PROCEDURES[0].key,
    [term.key for term in PHASES[:4]],
    [term.key for term in INSTRUMENTS[:4]],
)


def structured_titles(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [draw_titles(rng, WHOLE).structured.lower() for _ in range(count)]


def named(title: str, keys: list[str]) -> int:
    return sum(NAMES[key] in title for key in keys)


def test_structured_titles_name_the_procedure_the_phases_and_the_instruments() -> None:
    for title in structured_titles(50):
        assert NAMES[WHOLE.procedure] in title
        assert named(title, [part.phase for part in WHOLE.segments]) >= 3
        assert named(title, [part.instruments[0].instrument for part in WHOLE.segments]) >= 3


def test_structured_titles_are_sometimes_partial_and_mostly_complete() -> None:
    titles = structured_titles(300)
    complete = sum(named(title, [part.phase for part in WHOLE.segments]) == 4 for title in titles)
    assert 150 < complete < 300


def test_structured_titles_name_nothing_that_is_not_shown() -> None:
    absent = [term.key for term in PHASES[4:]]
    shown = " ".join([NAMES[WHOLE.procedure], *(NAMES[part.phase] for part in WHOLE.segments)])
    never = [key for key in absent if NAMES[key] not in shown]
    assert never
    assert all(named(title, never) == 0 for title in structured_titles(100))


def test_raw_titles_vary_and_are_sometimes_vague() -> None:
    rng = np.random.default_rng(0)
    titles = [draw_titles(rng, WHOLE).raw for _ in range(300)]
    assert len(set(titles)) > 200
    procedure_names = [NAMES[WHOLE.procedure], *load_speech().procedure_names[WHOLE.procedure]]
    naming = sum(any(name.lower() in title.lower() for name in procedure_names) for title in titles)
    assert 150 < naming < 300
    assert any(title.isupper() for title in titles)
    assert any(not title.isascii() for title in titles)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([term.key for term in PROCEDURES]),
    st.lists(
        st.tuples(
            st.sampled_from([*(term.key for term in PHASES), "idle"]),
            st.sampled_from([term.key for term in INSTRUMENTS]),
        ),
        max_size=6,
    ),
    st.integers(0, 2**32 - 1),
)
def test_titles_of_any_timeline_are_whole_and_depend_on_the_seed_alone(
    procedure: str, parts: list[tuple[str, str]], seed: int
) -> None:
    timeline = timeline_of(procedure, [phase for phase, _ in parts], [name for _, name in parts])
    titles = draw_titles(np.random.default_rng(seed), timeline)
    assert titles == draw_titles(np.random.default_rng(seed), timeline)
    for title in (titles.raw, titles.structured):
        assert title.strip() == title != ""
        assert not set(title) & set("{}<>")
    assert "idle" not in titles.structured
