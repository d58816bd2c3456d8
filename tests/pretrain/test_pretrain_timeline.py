# SPDX-License-Identifier: Apache-2.0
"""Rows by presentation time: a binary search in all videos at once equals one in each."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ophclip.pretrain.timeline import Timeline

gaps = st.lists(st.sampled_from([0.0, 0.04, 0.5, 1.0, 7.25]), min_size=1, max_size=30)
starts = st.sampled_from([0.0, 0.2, 3.0])


@given(
    videos=st.lists(st.tuples(starts, gaps), min_size=1, max_size=6),
    seconds=st.lists(st.floats(-2, 60) | st.sampled_from([0.2, 0.5, 1.0, 1.5]), min_size=1, max_size=5),
)
def test_the_row_on_screen_is_the_last_that_is_not_later(
    videos: list[tuple[float, list[float]]], seconds: list[float]
) -> None:
    times = [start + np.cumsum([0.0, *steps]) for start, steps in videos]
    numbers = np.arange(len(times))[::-1]
    asked = np.tile(seconds, (len(times), 1))
    found = Timeline(times).shown(numbers, asked)
    for number, line in zip(numbers, found, strict=True):
        assert_array_equal(line, np.maximum(np.searchsorted(times[number], seconds, side="right") - 1, 0))


def test_rows_are_spread_over_a_window_and_end_with_the_video() -> None:
    line = Timeline([np.arange(11.0), np.array([0.0, 0.1, 9.0])])
    both = np.array([0, 1])
    whole = line.spread(both, np.zeros(2), np.full(2, np.inf), 3)
    assert_array_equal(whole, [[2, 5, 7], [1, 1, 1]])
    assert_array_equal(line.spread(both, np.array([-4.0, 8.9]), np.array([2.0, 99.0]), 1), [[1], [1]])
    assert_array_equal(line.ends(both), [10.0, 9.0])


def test_a_window_behind_the_last_row_shows_the_last_row() -> None:
    line = Timeline([np.arange(4.0)])
    assert_array_equal(line.spread(np.array([0]), np.array([3.5]), np.array([6.0]), 2), [[3, 3]])


@given(
    length=st.integers(1, 40),
    drawn=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=9),
)
def test_scattered_rows_lie_one_in_each_stretch(length: int, drawn: list[float]) -> None:
    times = np.arange(length) * 0.5
    (rows,) = Timeline([times]).scattered(np.array([0]), np.array([drawn]))
    stretch = times[-1] / len(drawn)
    for number, row in enumerate(rows.tolist()):
        seconds = (number + drawn[number]) * stretch
        assert times[row] <= seconds + 1e-9
        assert row == length - 1 or times[row + 1] > seconds - 1e-9
