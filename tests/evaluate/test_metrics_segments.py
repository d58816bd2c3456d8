# SPDX-License-Identifier: Apache-2.0
"""Edit score and matched stretches: by hand, against a plain reading of their definitions, and properties."""

from __future__ import annotations

from functools import cache
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ophclip.evaluate import metrics

OVERLAPS = (0.1, 0.25, 0.5)


@st.composite
def timelines(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    length = draw(st.integers(1, 30))
    truth = draw(arrays(np.int64, length, elements=st.integers(-1, 2)))
    return truth, draw(arrays(np.int64, length, elements=st.integers(0, 2)))


def plain_edit_score(truth: list[int], predicted: list[int]) -> float:
    true, said = ([label for label, _ in groupby(part)] for part in (truth, predicted))

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        replaced = distance(i - 1, j - 1) + (true[i - 1] != said[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, replaced)

    return 1 - distance(len(true), len(said)) / max(len(true), len(said))


def plain_matches(truth: list[int], predicted: list[int], overlap: float) -> int:
    def stretches(labels: list[int]) -> list[tuple[int, set[int]]]:
        rows = iter(range(len(labels)))
        return [(label, {next(rows) for _ in group}) for label, group in groupby(labels)]

    true, taken = stretches(truth), set()
    for label, rows in stretches(predicted):
        ratios = [len(rows & other) / len(rows | other) if label == name else 0.0 for name, other in true]
        best = max(range(len(true)), key=ratios.__getitem__)
        if ratios[best] >= overlap:
            taken.add(best)
    return len(taken)


@given(timelines())
def test_both_are_as_their_definitions_read(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = drawn
    scored = truth != -1
    plain = truth[scored].tolist(), predicted[scored].tolist()
    found = metrics.matched_segments(truth, predicted, OVERLAPS)
    if not plain[0]:
        assert np.isnan(metrics.edit_score(truth, predicted))
        assert not found.any()
        return
    assert metrics.edit_score(truth, predicted) == pytest.approx(plain_edit_score(*plain))
    assert found[:3].tolist() == [plain_matches(*plain, overlap) for overlap in OVERLAPS]
    assert found[3:].tolist() == [len(list(groupby(part))) for part in plain]


@given(timelines())
def test_perfect_predictions_match_everything(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    truth = np.abs(drawn[0])
    assert metrics.edit_score(truth, truth) == 1
    found = metrics.matched_segments(truth, truth, OVERLAPS)
    assert len(set(found.tolist())) == 1


def test_by_hand() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    said = np.array([0, 0, 1, 0, 1, 1, 2, 2, 2, 2])
    # Stretches: 0 1 2 against 0 1 0 1 2: two must be put in.
    assert metrics.edit_score(truth, said) == pytest.approx(1 - 2 / 5)
    # 0 (rows 0-1) and 0 (row 3) both want the first 0: intersections over unions 2/4 and 1/4, so it is
    # matched once at each overlap. 1 (row 2) reaches no 1; 1 (rows 4-5) has 2/4; 2 (rows 6-9) has 2/4.
    assert metrics.matched_segments(truth, said, OVERLAPS).tolist() == [3, 3, 3, 3, 5]
    assert metrics.matched_segments(truth, said, (0.51,)).tolist() == [0, 3, 5]


def test_the_order_alone_decides_the_edit_score() -> None:
    assert metrics.edit_score(np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1])) == 1
    assert metrics.edit_score(np.array([0, 1]), np.array([1, 0])) == 0


def test_one_wrong_row_breaks_the_stretches_but_hardly_the_accuracy() -> None:
    truth = np.repeat([0, 1], 50)
    said = truth.copy()
    said[25] = 1
    assert metrics.edit_score(truth, said) == pytest.approx(1 - 2 / 4)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \[T\]"):
        metrics.edit_score(np.zeros(3, np.int64), np.zeros(2, np.int64))
