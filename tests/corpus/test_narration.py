# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ophclip.corpus.simulate.grammar import expand
from ophclip.corpus.simulate.narration import MAX_LAG_S, Narration, draw_narration, draw_sentence
from ophclip.corpus.simulate.procedures import Segment, Timeline, Use, draw_timeline
from ophclip.corpus.simulate.slips import mishear, punctuate, slur
from ophclip.corpus.simulate.speech import load_speech
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES, PROCEDURES

PHASE_KEYS = [term.key for term in PHASES]
INSTRUMENT_KEYS = [term.key for term in INSTRUMENTS]


def timeline_of(phases: list[str], seconds_each: float) -> Timeline:
    segments = []
    for index, phase in enumerate(phases):
        start_s, end_s = index * seconds_each, (index + 1) * seconds_each
        use = Use(INSTRUMENT_KEYS[index % len(INSTRUMENT_KEYS)], start_s, end_s)
        segments.append(Segment(phase, start_s, end_s, () if phase == "idle" else (use,)))
    return Timeline(PROCEDURES[0].key, len(phases) * seconds_each, tuple(segments))


def narrations(count: int) -> list[Narration]:
    rng = np.random.default_rng(0)
    drawn: list[Narration] = []
    while len(drawn) < count:
        phases = [PHASE_KEYS[index] for index in rng.permutation(len(PHASE_KEYS))[:6]]
        drawn += draw_narration(rng, timeline_of(phases, 10.0))
    return drawn[:count]


def on_topic(count: int) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(1)
    phases = [PHASE_KEYS[index % len(PHASE_KEYS)] for index in range(count)]
    sentences = [
        draw_sentence(rng, phase, next_phase=PHASE_KEYS[int(rng.integers(len(PHASE_KEYS)))])
        for phase in phases
    ]
    return sentences, phases


def test_every_procedure_phase_and_instrument_of_the_vocabulary_has_words() -> None:
    speech = load_speech()
    assert set(speech.phases) == set(speech.phase_names) == set(PHASE_KEYS)
    assert set(speech.instrument_names) == set(speech.instrument_actions) == set(INSTRUMENT_KEYS)
    assert set(speech.procedure_names) == {term.key for term in PROCEDURES}


def test_the_same_seed_says_the_same_and_another_seed_does_not() -> None:
    timeline = timeline_of(PHASE_KEYS[:5], 8.0)
    first, again, other = (draw_narration(np.random.default_rng(seed), timeline) for seed in (3, 3, 4))
    assert first == again
    assert [narration.text for narration in first] != [narration.text for narration in other]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*PHASE_KEYS, "idle"]), min_size=1, max_size=8),
    st.floats(1.0, 30.0),
    st.integers(0, 2**32 - 1),
)
def test_utterances_are_in_order_within_the_video_and_say_something(
    phases: list[str], seconds_each: float, seed: int
) -> None:
    timeline = timeline_of(phases, seconds_each)
    drawn = draw_narration(np.random.default_rng(seed), timeline)
    assert drawn
    assert drawn[0].start_s >= 0
    assert drawn[-1].end_s <= timeline.seconds
    for narration in drawn:
        assert narration.start_s < narration.end_s
        assert narration.text.strip()
        assert not set(narration.text) & set("{}<>|"), "a template was left unexpanded"
    for before, after in itertools.pairwise(drawn):
        assert before.end_s <= after.start_s
        assert 1.98 <= before.end_s - before.start_s <= 6.02


def test_every_drawn_operation_can_be_narrated() -> None:
    rng = np.random.default_rng(2)
    for term in PROCEDURES:
        timeline = draw_timeline(rng, term.key, 30.0)
        drawn = draw_narration(rng, timeline)
        assert len(drawn) >= 2
        assert drawn[-1].end_s <= 30.0


def test_a_thousand_narrations_are_nearly_all_different() -> None:
    assert len({narration.text for narration in narrations(1000)}) > 900


def test_words_tell_the_phase_well_but_not_perfectly() -> None:
    sentences, phases = on_topic(2000)
    model = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=300))
    model.fit(sentences[:1000], phases[:1000])
    assert 0.7 < model.score(sentences[1000:], phases[1000:]) < 0.995


def test_what_is_said_is_what_is_seen_within_the_lag() -> None:
    # One long phase among others: what is said in its middle, lag and all, can only be of it or off topic.
    timeline = timeline_of(["trephination", "graft_suturing", "trephination"], 40.0)
    rng, sutures, others = np.random.default_rng(5), 0, 0
    for _ in range(30):
        for narration in draw_narration(rng, timeline):
            if narration.start_s > 40 + MAX_LAG_S and narration.end_s < 80 - MAX_LAG_S:
                sutures += any(word in narration.text.lower() for word in ("sutur", "nylon", "graft"))
                others += "host cornea" in narration.text.lower()
    assert sutures > 50
    assert others == 0


def test_instruments_are_spoken_of_while_they_are_at_work() -> None:
    uses = (Use("trephine", 0.0, 100.0), Use("vitrector", 100.0, 200.0))
    timeline = Timeline(PROCEDURES[0].key, 200.0, (Segment("incision", 0.0, 200.0, uses),))
    drawn = draw_narration(np.random.default_rng(6), timeline)
    first = " ".join(part.text.lower() for part in drawn if part.end_s < 100 - MAX_LAG_S)
    second = " ".join(part.text.lower() for part in drawn if part.start_s > 100 + MAX_LAG_S)
    names = load_speech().instrument_names
    for instrument, heard, silent in (("trephine", first, second), ("vitrector", second, first)):
        assert any(name in heard for name in names[instrument])
        assert not any(name in silent for name in names[instrument])


def test_some_narrations_are_off_topic_and_some_span_two_phases() -> None:
    texts = [narration.text.lower() for narration in narrations(600)]
    assert any("year old" in text for text in texts)
    assert any(words in text for text in texts for words in ("straight to", "proceed with", "finished and"))


@pytest.mark.parametrize("template", ["{a|b|} <rule>", "{x {y|z}|w}", "<rule>, <rule>"])
def test_templates_expand_completely(template: str) -> None:
    rng = np.random.default_rng(0)
    texts = {expand(rng, template, {"rule": ("one {two|three}", "four")}) for _ in range(200)}
    assert len(texts) > 2
    assert not any(set(text) & set("{}<>|") or "  " in text for text in texts)


def test_a_template_that_names_no_rule_is_an_error() -> None:
    with pytest.raises(KeyError):
        expand(np.random.default_rng(0), "the <instrumnet>", {"instrument": ("keratome",)})


def test_every_template_that_comes_with_the_package_expands() -> None:
    speech, rng = load_speech(), np.random.default_rng(0)
    for lines in speech.phases.values():
        for line in lines:
            assert expand(rng, line, speech.rules)
    own = {
        "phase": ("a",),
        "next": ("b",),
        "instrument": ("c",),
        "action": ("d",),
        "it": ("e",),
        "main": ("f",),
    }
    for lines in speech.talk.values():
        for line in lines:
            assert expand(rng, line, {**speech.rules, **own})


def test_terms_are_misheard_as_a_recogniser_would() -> None:
    rng = np.random.default_rng(0)
    heard = {mishear(rng, "phaco of the capsule", probability=0.5) for _ in range(100)}
    assert "phaco of the capsule" in heard
    assert any("fake oh" in text for text in heard)
    assert mishear(rng, "phaco", probability=0.0) == "phaco"


def test_slips_lose_marks_and_endings_and_repeat_words() -> None:
    rng = np.random.default_rng(0)
    slurred = {slur(rng, "we are cutting the quadrants") for _ in range(500)}
    assert "we are cuttin the quadrants" in slurred
    assert "we are cutting cutting the quadrants" in slurred
    written = {punctuate(rng, "now, we're here") for _ in range(100)}
    assert {"Now, we're here.", "now we're here"} <= written
