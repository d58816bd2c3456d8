# SPDX-License-Identifier: Apache-2.0
"""From spans to rows: against the definition, second by second."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from ophclip.evaluate.datasets.labels import (
    UNSCORED,
    holes,
    label_rows,
    num_disputed_rows,
    overlaps,
    rows_between,
)
from ophclip.evaluate.datasets.reading import BACKGROUND, Span

times = st.fractions(0, 12, max_denominator=60)


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    found = []
    for line in range(draw(st.integers(1, 6))):
        start, end = sorted((draw(times), draw(times)))
        found.append(Span(start, end, draw(st.integers(BACKGROUND, 2)), line))
    return found


@given(spans(), st.sampled_from([Fraction(1), Fraction(2), Fraction(1, 5)]))
def test_a_row_has_the_label_of_the_span_that_is_on_at_its_time(
    given_spans: list[Span], fps: Fraction
) -> None:
    labels = label_rows(given_spans, fps, background=7)
    disputed = 0
    for row, label in enumerate(labels):
        on = [span for span in given_spans if span.end is not None and span.start <= row / fps < span.end]
        names = {7 if span.label == BACKGROUND else span.label for span in on}
        disputed += len(names) > 1
        assert label == (names.pop() if len(names) == 1 else UNSCORED)
    assert num_disputed_rows(given_spans, fps) == disputed
    assert len(labels) == max(
        (rows_between(span.start, span.end, fps).stop for span in given_spans if span.end > span.start),  # type: ignore[operator, arg-type]
        default=0,
    )


@given(spans())
def test_overlaps_are_found_exactly_where_two_spans_are_on(given_spans: list[Span]) -> None:
    filled = [span for span in given_spans if span.end is not None and span.end > span.start]
    edges = sorted({span.start for span in filled})
    both = any(
        sum(span.end is not None and span.start <= time < span.end for span in filled) > 1 for time in edges
    )
    assert bool(overlaps(given_spans)) == both


def test_gaps_lie_between_the_first_and_the_last_span() -> None:
    two = [Span(Fraction(2), Fraction(3), 0), Span(Fraction(5), Fraction(6), 1)]
    assert label_rows(two, Fraction(1), gaps=9).tolist() == [-1, -1, 0, 9, 9, 1]
    assert [(before.end, after.start) for before, after in holes(two)] == [(3, 5)]


def test_no_span_and_spans_without_length_give_no_rows() -> None:
    assert label_rows([], Fraction(1)).tolist() == []
    assert label_rows([Span(Fraction(1), Fraction(1), 0)], Fraction(1)).tolist() == []
