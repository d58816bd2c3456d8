# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophclip.corpus.simulate.procedures import Segment, Timeline, Use
from ophclip.corpus.simulate.truth import Truth, read_truth, truth_of, write_truth
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES, PROCEDURES
from ophclip.errors import UsageError

PROCEDURE, OTHER = PROCEDURES[0].key, PROCEDURES[1].key
HEADER = "video_id,second,procedure,phase,instruments\n"


def test_a_second_holds_the_state_at_that_time_with_half_open_spans() -> None:
    timeline = Timeline(
        PROCEDURE,
        5.5,
        (
            Segment("idle", 0.0, 0.5, ()),
            Segment("incision", 0.5, 2.0, (Use("keratome", 0.5, 1.0),)),
            Segment("capsulorhexis", 2.0, 4.25, (Use("cystotome", 2.0, 3.5), Use("scissors", 3.0, 4.25))),
        ),
    )
    truth = truth_of(timeline, 5.5)
    assert truth.procedure == PROCEDURE
    assert truth.phases == ["idle", "incision", *["capsulorhexis"] * 3, "idle"]
    assert truth.instruments == [
        frozenset(),
        frozenset(),
        frozenset({"cystotome"}),
        frozenset({"cystotome", "scissors"}),
        frozenset({"scissors"}),
        frozenset(),
    ]


@pytest.mark.parametrize(("seconds", "expected"), [(0, 0), (0.2, 1), (3, 3), (3.01, 4)])
def test_there_is_one_row_for_each_frame_sampled_at_one_a_second(seconds: float, expected: int) -> None:
    truth = truth_of(Timeline(PROCEDURE, seconds, ()), seconds)
    assert truth.phases == ["idle"] * expected
    assert truth.instruments == [frozenset()] * expected


def truths() -> st.SearchStrategy[dict[str, Truth]]:
    second = st.tuples(
        st.sampled_from([*(term.key for term in PHASES), "idle"]),
        st.frozensets(st.sampled_from([term.key for term in INSTRUMENTS]), max_size=4),
    )
    truth = st.builds(
        lambda procedure, seconds: Truth(procedure, [s[0] for s in seconds], [s[1] for s in seconds]),
        st.sampled_from([term.key for term in PROCEDURES]),
        st.lists(second, min_size=1, max_size=8),
    )
    return st.dictionaries(st.text(min_size=1).filter(str.strip), truth, max_size=4)


@settings(max_examples=60, deadline=None)
@given(truths())
def test_what_is_written_is_read_back_equal(written: dict[str, Truth]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_truth(Path(folder), written)
        back = read_truth(Path(folder))
    assert list(back.items()) == list(written.items())


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (f"a,1,{PROCEDURE},rest,", "phase must name a key of the vocabulary, got 'rest'"),
        (f"a,1,{PROCEDURE},incision,keratom", "did you mean 'keratome'?"),
        (f"a,1,{PROCEDURE},incision,keratome|", "instruments must name a key of the vocabulary, got ''"),
        ("b,0,cooking,incision,", "procedure must name a key of the vocabulary, got 'cooking'"),
        (f"a,1,{OTHER},incision,", f"procedure must stay '{PROCEDURE}' within a video, got '{OTHER}'"),
        (f"a,2,{PROCEDURE},incision,", "second must be 1, the next one of 'a', got '2'"),
        (f"a,1.0,{PROCEDURE},incision,", "second must be 1, the next one of 'a', got '1.0'"),
        (f"b,1,{PROCEDURE},incision,", "second must be 0, the next one of 'b', got '1'"),
        (f",0,{PROCEDURE},incision,", "video_id must not be empty"),
    ],
)
def test_a_bad_row_is_an_error_with_its_line(tmp_path: Path, row: str, expected: str) -> None:
    (tmp_path / "truth.csv").write_text(f"{HEADER}a,0,{PROCEDURE},idle,\n{row}\n")
    with pytest.raises(UsageError) as caught:
        read_truth(tmp_path)
    assert caught.value.message.startswith(f"{tmp_path}/truth.csv:3: ")
    assert expected in caught.value.message


def test_a_corpus_that_was_not_simulated_has_no_truth(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"got no truth\.csv"):
        read_truth(tmp_path)


@pytest.mark.parametrize(
    "truth",
    [
        Truth("cooking", ["idle"], [frozenset()]),
        Truth(PROCEDURE, ["rest"], [frozenset()]),
        Truth(PROCEDURE, ["idle"], [frozenset({"spoon"})]),
        Truth(PROCEDURE, ["idle", "idle"], [frozenset()]),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, truth: Truth) -> None:
    with pytest.raises(UsageError):
        write_truth(tmp_path, {"a": truth})
    assert list(tmp_path.iterdir()) == []
