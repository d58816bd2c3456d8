# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophclip.corpus.simulate.procedures import IDLE, Segment, Timeline, Use, draw_timeline
from ophclip.corpus.simulate.scripts import SCRIPTS
from ophclip.corpus.simulate.state import REACH_S, state_at
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES, PROCEDURES
from ophclip.errors import UsageError

KEYS = [term.key for term in PROCEDURES]

timelines = st.builds(
    lambda seed, procedure, seconds: draw_timeline(np.random.default_rng(seed), procedure, seconds),
    st.integers(0, 2**32 - 1),
    st.sampled_from(KEYS),
    st.floats(1.0, 600.0),
)


def many(procedure: str, seconds: float = 30.0, count: int = 60) -> list[Timeline]:
    return [draw_timeline(np.random.default_rng(seed), procedure, seconds) for seed in range(count)]


def phases_of(timeline: Timeline) -> list[str]:
    return [part.phase for part in timeline.segments if part.phase != IDLE]


def test_there_are_eight_procedures_over_fifteen_phases_and_scripts_know_no_others() -> None:
    steps = [step for script in SCRIPTS.values() for step in script]
    tools = {tool for step in steps for hands in step.hands for hand in hands for tool in hand}
    assert set(SCRIPTS) == set(KEYS)
    assert len(KEYS) >= 8
    assert {step.phase for step in steps} == {term.key for term in PHASES}
    assert len(PHASES) >= 15
    assert tools == {term.key for term in INSTRUMENTS}


@settings(max_examples=150, deadline=None)
@given(timelines)
def test_segments_cover_the_whole_video_without_holes(timeline: Timeline) -> None:
    assert timeline.segments[0].start_s == 0
    assert timeline.segments[-1].end_s == timeline.seconds
    for before, after in itertools.pairwise(timeline.segments):
        assert before.end_s == after.start_s
    assert all(part.start_s < part.end_s for part in timeline.segments)


@settings(max_examples=150, deadline=None)
@given(timelines)
def test_instruments_work_inside_their_segment_and_a_phase_always_has_one(timeline: Timeline) -> None:
    for part in timeline.segments:
        assert bool(part.instruments) == (part.phase != IDLE)
        for use in part.instruments:
            assert part.start_s <= use.start_s < use.end_s <= part.end_s


@settings(max_examples=150, deadline=None)
@given(timelines)
def test_what_is_shown_and_was_done_before_follows_the_script_in_order(timeline: Timeline) -> None:
    script = iter(step.phase for step in SCRIPTS[timeline.procedure])
    assert all(phase in script for phase in (*timeline.done_before, *phases_of(timeline)))


@pytest.mark.parametrize("procedure", KEYS)
def test_order_lengths_and_instruments_vary_between_operations(procedure: str) -> None:
    drawn = many(procedure)
    assert len({tuple(phases_of(timeline)) for timeline in drawn}) > 2
    assert len({timeline.segments[0].end_s for timeline in drawn}) > 30
    hands = {
        (part.phase, tuple(sorted(use.instrument for use in part.instruments)))
        for timeline in drawn
        for part in timeline.segments
    }
    alternatives = {
        (step.phase, tuple(sorted(tool for hand in choice for tool in hand)))
        for step in SCRIPTS[procedure]
        for choice in step.hands
    }
    assert hands - {(IDLE, ())} == alternatives


def test_many_videos_begin_mid_case_with_what_was_done_before() -> None:
    drawn = [timeline for key in KEYS for timeline in many(key)]
    late = [timeline for timeline in drawn if timeline.done_before]
    assert 0.25 < len(late) / len(drawn) < 0.8
    script = [step.phase for step in SCRIPTS["phacoemulsification_surgery"]]
    for timeline in many("phacoemulsification_surgery"):
        if timeline.done_before and phases_of(timeline)[0] == "lens_implantation":
            assert set(timeline.done_before) <= set(script[: script.index("lens_implantation")])
            assert "phacoemulsification" in timeline.done_before


def test_phases_come_again_where_surgeons_repeat_them() -> None:
    counts = [Counter(phases_of(timeline)) for timeline in many("phacoemulsification_surgery", 120.0)]
    assert any(count["viscoelastic_injection"] == 2 for count in counts)
    assert any(count["viscoelastic_injection"] == 1 for count in counts)


def test_a_thirty_second_video_shows_some_phases_and_rests_between_them() -> None:
    drawn = many("phacoemulsification_surgery", count=200)
    assert {len(phases_of(timeline)) for timeline in drawn} <= {3, 4, 5}
    assert 0.5 < np.mean([any(part.phase == IDLE for part in timeline.segments) for timeline in drawn]) < 1


def test_the_same_generator_state_gives_the_same_course() -> None:
    first, again, other = (draw_timeline(np.random.default_rng(seed), KEYS[0], 30.0) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_an_unknown_procedure_is_an_error_with_the_likely_name() -> None:
    with pytest.raises(UsageError) as caught:
        draw_timeline(np.random.default_rng(0), "trabeculectmy", 30.0)
    assert "'trabeculectmy'" in caught.value.message
    assert "trabeculectomy" in caught.value.remedy


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_length_that_is_not_positive_is_an_error(seconds: float) -> None:
    with pytest.raises(UsageError, match="seconds must be positive"):
        draw_timeline(np.random.default_rng(0), KEYS[0], seconds)


TWICE = Timeline(
    KEYS[0],
    20.0,
    (
        Segment("capsulorhexis", 0.0, 4.0, (Use("cystotome", 0.0, 2.0), Use("forceps", 2.0, 4.0))),
        Segment(IDLE, 4.0, 8.0, ()),
        Segment("capsulorhexis", 8.0, 12.0, (Use("forceps", 8.0, 12.0), Use("scissors", 9.0, 12.0))),
        Segment("wound_hydration", 12.0, 20.0, (Use("hydrodissection_cannula", 13.0, 20.0),)),
    ),
    ("incision",),
)


@pytest.mark.parametrize(
    ("time_s", "done"), [(0.0, 0.0), (2.0, 0.25), (6.0, 0.5), (10.0, 0.75), (12.0, 1.0), (19.0, 1.0)]
)
def test_a_phase_that_comes_again_goes_on_where_it_stopped(time_s: float, done: float) -> None:
    assert state_at(TWICE, time_s).done["capsulorhexis"] == done


def test_what_was_done_before_the_video_is_done_from_its_first_frame() -> None:
    assert state_at(TWICE, 0.0).done["incision"] == 1.0
    assert state_at(TWICE, 0.0).done["wound_hydration"] == 0.0


@pytest.mark.parametrize(
    ("time_s", "phase"),
    [(0.0, "capsulorhexis"), (4.0, IDLE), (8.0, "capsulorhexis"), (12.0, "wound_hydration")],
)
def test_a_phase_starts_with_its_segment_and_ends_before_the_next(time_s: float, phase: str) -> None:
    assert state_at(TWICE, time_s).phase == phase


def test_an_instrument_comes_in_before_its_use_and_leaves_after_it() -> None:
    def reach(time_s: float) -> float | None:
        state = state_at(TWICE, time_s)
        found = [part.reach for part in state.handlings if part.instrument == "hydrodissection_cannula"]
        return found[0] if found else None

    assert reach(13.0 - REACH_S) is None
    assert reach(13.0 - REACH_S / 2) == pytest.approx(0.5)
    assert reach(13.0) == reach(16.0) == 1.0


def test_progress_runs_from_0_to_1_over_a_use() -> None:
    progress = [state_at(TWICE, time_s).handlings[0].progress for time_s in (12.8, 13.0, 16.5, 19.99)]
    assert progress == pytest.approx([0.0, 0.0, 0.5, 1.0], abs=0.01)


def test_instruments_used_together_are_in_different_hands_and_in_turn_in_the_same() -> None:
    together = {part.instrument: part.hand for part in state_at(TWICE, 10.0).handlings}
    assert together == {"forceps": 0, "scissors": 1}
    in_turn = {part.instrument: part.hand for part in state_at(TWICE, 2.0).handlings}
    assert in_turn == {"cystotome": 0, "forceps": 0}
