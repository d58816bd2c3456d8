# SPDX-License-Identifier: Apache-2.0
"""The confusion matrix: a field of shares, readable at ten classes and at a hundred."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate.plots import PAD, picture, readable, shortened
from ophclip.evaluate.plots_colours import number_of
from ophclip.evaluate.plots_words import escaped

FIELD = 640  # the largest side of the field of cells
LARGEST, SMALLEST = 46, 6  # sides of a cell
NAMED = 14  # a lower cell has no room for a name beside it
WRITTEN = 24  # a smaller cell has no room for its percent
LEFT, TOP = 200, 120  # room for names; less where there are none
SHRUNK = 0.75  # of its size: text below 8 pixels is not legible
SHOWN, TOLD_SMALL = 0.005, 0.02  # a smaller share is drawn without words; so in cells of either size

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Mistake:
    """Frames of one class taken for another; `share` is of all frames of the true class."""

    true: int
    predicted: int
    frames: int
    share: float


@dataclass(frozen=True)
class Matrix:
    """SVG elements and the size that they fill."""

    inner: str
    width: int
    height: int

    def svg(self) -> str:
        """Return the matrix as a picture of its own: an SVG file."""
        return picture(self.inner, self.width, self.height)

    def html(self) -> str:
        """Return the matrix for a page that has the styles; it shrinks as far as it stays legible."""
        return (
            f'<div class="scroll"><svg role="img" aria-label="confusion matrix" '
            f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'style="min-width:{int(SHRUNK * self.width)}px">{self.inner}</svg></div>'
        )


def confusion_figure(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> Matrix:
    """Return the matrix, each row in shares of its true class.

    Classes that are neither true nor predicted anywhere are left out; the numbers are those of the legend.
    """
    counts = np.array(confusion, dtype=np.int64).reshape(len(names), len(names))
    kept = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1)).tolist()
    if not counts.sum():
        empty = f'<text class="soft" x="{PAD}" y="24">no frame is scored</text>'
        return Matrix(empty, 200, 40)
    side = int(np.clip(FIELD // len(kept), SMALLEST, LARGEST))
    left, top = (LEFT, TOP) if side >= NAMED else (60, 46)
    parts = [_frame(left, top, side * len(kept)), *_cells(kept, counts, names, (left, top, side))]
    parts += _names(kept, names, counts, left, top, side)
    width = left + side * len(kept) + 60
    return Matrix("".join(parts), width, top + side * len(kept) + PAD)


def largest_mistakes(confusion: Sequence[Sequence[int]], most: int) -> list[Mistake]:
    """Return the confusions of most frames, at most `most` of them."""
    counts = np.array(confusion, dtype=np.int64)
    if not counts.size:
        return []
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(cell), len(counts)) for cell in order]
    return [
        Mistake(true, said, int(wrong[true, said]), float(wrong[true, said] / counts[true].sum()))
        for true, said in pairs
        if wrong[true, said]
    ]


def _frame(left: int, top: int, side: int) -> str:
    return (
        f'<rect class="track" x="{left}" y="{top}" width="{side}" height="{side}"/>'
        f'<path class="grid" d="M{left} {top}l{side} {side}"/>'
    )


def _cells(
    kept: Sequence[int], counts: Counts, names: Sequence[str], place: tuple[int, int, int]
) -> Iterator[str]:
    """Give the cells: those that matter with their words, the faint ones of a shade as one path."""
    left, top, side = place
    told = SHOWN if side >= WRITTEN else TOLD_SMALL
    faint: dict[str, list[str]] = {}
    for row, true in enumerate(kept):
        total = max(int(counts[true].sum()), 1)
        for column, predicted in enumerate(kept):
            share = float(counts[true, predicted]) / total
            x, y = left + column * side, top + row * side
            if share >= told:
                yield _cell((x, y, side), share, _told(counts, true, predicted, names))
            elif share:
                faint.setdefault(_shade(share), []).append(f"M{x} {y}h{side}v{side}h-{side}z")
    for shade, cells in faint.items():
        yield f'<path class="bar" fill-opacity="{shade}" d="{"".join(cells)}"/>'


def _cell(place: tuple[int, int, int], share: float, told: str) -> str:
    x, y, side = place
    text = ""
    if side >= WRITTEN:
        style = "mid onbar" if share > 0.55 else "mid"
        text = f'<text class="{style}" x="{x + side / 2:g}" y="{y + side / 2 + 4:g}">{100 * share:.0f}</text>'
    return (
        f'<g><rect class="bar" x="{x}" y="{y}" width="{side}" height="{side}" '
        f'fill-opacity="{_shade(share)}"/>{text}<title>{escaped(told)}</title></g>'
    )


def _shade(share: float) -> str:
    return f"{max(share, 0.03):.2f}"


def _told(counts: Counts, true: int, predicted: int, names: Sequence[str]) -> str:
    count, total = int(counts[true, predicted]), int(counts[true].sum())
    who = readable(names[true])
    what = "right" if true == predicted else f"taken for {readable(names[predicted])}"
    return f"{who}: {count:,} of {total:,} {what} ({100 * count / total:.1f} %)"


def _names(
    kept: Sequence[int], names: Sequence[str], counts: Counts, left: int, top: int, side: int
) -> list[str]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if step * side >= NAMED)
    named = side >= NAMED
    parts = [
        f'<text class="soft" x="{left}" y="12">predicted (percent of the true class)</text>',
        f'<text class="soft" x="4" y="{top - 6}">true</text>',
    ]
    for index, label in enumerate(kept):
        if index % step:
            continue
        middle = index * side + side / 2
        total = int(counts[label].sum())
        row = f"{number_of(label)}"
        column = row
        if named:
            row = f"{shortened(readable(names[label]), 24)} ({total:,}) {row}"
            column = f"{number_of(label)} {shortened(readable(names[label]), 18)}"
        x, y = left + middle, top - 6
        parts.append(f'<text class="end" x="{left - 5}" y="{top + middle + 4:g}">{escaped(row)}</text>')
        turned = f' transform="rotate(-45 {x:g} {y})"' if named else ""
        style = "" if named else ' class="mid"'
        parts.append(f'<text{style} x="{x:g}" y="{y}"{turned}>{escaped(column)}</text>')
    return parts
