# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophclip.corpus.sentences import Passage, Window, cut, ends_sentence
from ophclip.corpus.speech import credible_cues
from ophclip.corpus.transcripts import Cue, Word
from ophclip.errors import UsageError

SHORT = Window(3, 5)


def spoken(text: str, start_s: float = 0.0, word_s: float = 0.5) -> list[Word]:
    return [
        Word(start_s + word_s * index, start_s + word_s * (index + 1), word)
        for index, word in enumerate(text.split())
    ]


def said(passages: list[Passage]) -> list[str]:
    return [passage.text for passage in passages]


def test_passages_end_where_sentences_do() -> None:
    words = spoken(
        "We make the main incision with care. Then the rhexis goes round and round. Now we do hydro."
    )
    assert said(cut(words, SHORT)) == [
        "We make the main incision with care.",
        "Then the rhexis goes round and round.",
        "Now we do hydro.",
    ]


def test_without_sentences_commas_and_pauses_decide() -> None:
    words = spoken("and then you take the keratome, you enter the eye slowly and then you come out again")
    first = said(cut(words, SHORT))[0]
    assert first == "and then you take the keratome,"


def test_a_long_window_joins_sentences() -> None:
    words = spoken("We cut. We tear. We rotate. We phaco. We clean. We implant. We seal. " * 2)
    passages = cut(words, Window(8, 15))
    assert [passage.text.count(".") > 3 for passage in passages] == [True] * len(passages)


def test_a_short_remark_is_widened_into_the_silence_but_not_over_its_neighbours() -> None:
    words = [*spoken("Now look.", 10), *spoken("Here it comes.", 14)]
    assert cut(words, SHORT) == [Passage(9.0, 12.0, "Now look."), Passage(13.25, 16.25, "Here it comes.")]


def test_no_passage_runs_past_the_end_of_the_video_or_starts_before_it() -> None:
    passages = cut([*spoken("So we begin."), *spoken("And that is it.", 9.5)], SHORT, 10.2)
    assert passages[0].start_s == 0.0
    assert passages[-1].end_s == 10.2
    assert cut(spoken("too late", 20), SHORT, 10) == []
    assert cut([], SHORT) == []


def test_silence_parts_passages() -> None:
    words = [*spoken("One thing"), *spoken("and another", 9)]
    assert said(cut(words, Window(8, 15))) == ["One thing", "and another"]


@pytest.mark.parametrize(
    ("word", "ends"),
    [
        ("done.", True),
        ("done?", True),
        ('done."', True),
        ("Dr.", False),
        ("2.4", False),
        ("e.g.", False),
        ("so,", False),
    ],
)
def test_abbreviations_end_no_sentence(word: str, ends: bool) -> None:
    assert ends_sentence(word) == ends


@pytest.mark.parametrize("text", ["5-3", "0-4", "3", "a-b", "3-inf", "3-4-5", ""])
def test_a_window_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(UsageError):
        Window.parse(text)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 6), st.floats(0, 3), st.sampled_from(["a", "b,", "c.", "d?"])), max_size=40
    ),
    st.sampled_from([Window(3, 5), Window(8, 15), Window(1, 1)]),
    st.floats(1, 120),
)
def test_every_word_is_in_one_passage_and_passages_do_not_overlap(
    steps: list[tuple[float, float, str]], window: Window, end_s: float
) -> None:
    words: list[Word] = []
    now = 0.0
    for gap_s, length_s, text in steps:
        words.append(Word(now + gap_s, now + gap_s + length_s, text))
        now += gap_s + length_s
    passages = cut(words, window, end_s)
    heard = [word.text for word in words if word.start_s < end_s]
    kept = [text for passage in passages for text in passage.text.split()]
    assert Counter(kept) <= Counter(heard)
    # Only words that have no time of their own can find no room.
    assert len(heard) - len(kept) <= 1 + sum(a.start_s == b.start_s for a, b in pairwise(words))
    for before, after in pairwise(passages):
        assert before.end_s <= after.start_s
    for passage in passages:
        assert 0 <= passage.start_s < passage.end_s <= end_s
        if passage.text.count(" "):
            assert passage.end_s - passage.start_s <= max(window.max_s, window.min_s) + 1e-6


def cues(*texts: str) -> list[Cue]:
    return [Cue(10.0 * index, 10.0 * index + 4, text) for index, text in enumerate(texts)]


def test_what_recognisers_invent_over_silence_is_no_speech() -> None:
    notes: Counter[str] = Counter()
    kept = credible_cues(
        cues("Thank you.", "Thanks for watching!", "We cut the cornea.", "you", "[Music]", "♪♪"), notes
    )
    assert [cue.text for cue in kept] == ["We cut the cornea."]
    assert notes == {"cues invented over silence": 3, "cues of noise alone": 2}


def test_a_loop_stays_once() -> None:
    notes: Counter[str] = Counter()
    loop = ["I'm going to do it again."] * 5
    kept = credible_cues(cues(*loop, "Then the lens.", "go go go go go go go go go"), notes)
    assert [cue.text for cue in kept] == [loop[0], "Then the lens."]
    assert notes["cues that repeat in a loop"] == 5


def test_noise_tags_and_speaker_marks_go_and_the_words_keep_their_times() -> None:
    words = (Word(0, 1, "[soft"), Word(1, 2, "music]"), Word(2, 3, ">>"), Word(3, 4, "hello"))
    kept = credible_cues([Cue(0, 4, "[soft music] >> hello", words)], Counter())
    assert kept == [Cue(0, 4, "hello", (Word(3, 4, "hello"),))]
    spoken_cue = credible_cues([Cue(0, 4, ">> DR SMITH: the bag (upper third) is open")], Counter())
    assert spoken_cue[0].text == "the bag (upper third) is open"


def test_infinite_videos_are_cut_as_any() -> None:
    assert len(cut(spoken("word " * 100), SHORT, math.inf)) == 10
