# SPDX-License-Identifier: Apache-2.0
"""From spans in exact seconds to one label a row: row k is what is on at k / fps, spans are half-open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate.datasets.reading import BACKGROUND, Span

UNSCORED = -1


@dataclass(frozen=True)
class Overlap:
    """Two spans that are on at once, the earlier one first."""

    first: Span
    second: Span


def rows_between(start: Fraction, end: Fraction, fps: Fraction) -> range:
    """Return the rows k with start <= k / fps < end."""
    return range(math.ceil(start * fps), max(math.ceil(start * fps), math.ceil(end * fps)))


def label_rows(
    spans: Sequence[Span], fps: Fraction, *, background: int = UNSCORED, gaps: int = UNSCORED
) -> NDArray[np.int64]:
    """Return the label of each row up to the last span's end `[T]`; -1 where none, or where two disagree.

    `background` is the label of background spans, `gaps` that of the rows between the first and the last
    span that no span covers.
    """
    closed = [(span, span.end) for span in spans if span.end is not None and span.end > span.start]
    if not closed:
        return np.zeros(0, dtype=np.int64)
    first = math.ceil(min(span.start for span, _ in closed) * fps)
    labels = np.full(math.ceil(max(end for _, end in closed) * fps), UNSCORED, dtype=np.int64)
    labels[first:] = gaps
    seen = np.zeros(len(labels), dtype=bool)
    disputed = np.zeros(len(labels), dtype=bool)
    for span, end in closed:
        rows = rows_between(span.start, end, fps)
        part = slice(rows.start, rows.stop)
        label = background if span.label == BACKGROUND else span.label
        disputed[part] |= seen[part] & (labels[part] != label)
        labels[part], seen[part] = label, True
    labels[disputed] = UNSCORED
    return labels


def num_disputed_rows(spans: Sequence[Span], fps: Fraction) -> int:
    """Count the rows for which two spans give different labels."""
    # Background as a label of its own, so that it can disagree too.
    marked = [Span(span.start, span.end, span.label + 1, span.line) for span in spans]
    covered = label_rows([Span(span.start, span.end, 0, span.line) for span in spans], fps)
    return int(((covered == 0) & (label_rows(marked, fps) == UNSCORED)).sum())


def overlaps(spans: Sequence[Span]) -> list[Overlap]:
    """Return each span that begins before an earlier one has ended, with that one."""
    found: list[Overlap] = []
    latest: Span | None = None
    for span in _in_order(spans):
        if latest is not None and (latest.end is None or span.start < latest.end):
            found.append(Overlap(latest, span))
        if latest is None or (latest.end is not None and (span.end is None or span.end > latest.end)):
            latest = span
    return found


def holes(spans: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Return the neighbours between which no span is on."""
    return [
        (before, after)
        for before, after in pairwise(_in_order(spans))
        if before.end is not None and after.start > before.end
    ]


def _in_order(spans: Sequence[Span]) -> list[Span]:
    filled = [span for span in spans if span.end is None or span.end > span.start]
    return sorted(filled, key=lambda span: (span.start, span.line or 0))
