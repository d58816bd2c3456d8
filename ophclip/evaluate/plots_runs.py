# SPDX-License-Identifier: Apache-2.0
"""Labels over time as few shapes: equal neighbours are one run, and all narrow runs of a class one path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate.plots_words import escaped

COLUMNS = 2000  # of a strip: where a video has more rows, each column shows its most frequent label
BOX = 1000  # the width of a strip in its own units
TITLED = 6  # units: a narrower run has no tooltip of its own

Labels = NDArray[np.integer]


@dataclass(frozen=True)
class Run:
    """Equal labels in a row: rows `start` up to but without `end`."""

    start: int
    end: int
    label: int


def runs_of(labels: Labels) -> list[Run]:
    """Return the runs of `[T]`, in order."""
    if not len(labels):
        return []
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return [Run(start, end, int(labels[start])) for start, end in pairwise(edges)]


def condensed(labels: Labels, columns: int = COLUMNS) -> Labels:
    """Return at most `columns` labels: the most frequent of each equal part of `[T]`, the least of equals."""
    if len(labels) <= columns:
        return labels
    least = int(labels.min())
    counts = np.zeros((columns, int(labels.max()) - least + 1), dtype=np.int64)
    np.add.at(counts, (np.arange(len(labels)) * columns // len(labels), labels - least), 1)
    most: Labels = counts.argmax(axis=1) + least
    return most


@dataclass(frozen=True)
class Band:
    """Where a row of shapes lies in a strip, and how wide one label of it is, in the strip's units."""

    top: float
    height: float
    unit: float  # width of one label

    def piece(self, run: Run) -> str:
        """Return the path of a run."""
        width = short((run.end - run.start) * self.unit)
        return f"M{short(run.start * self.unit)} {short(self.top)}h{width}v{short(self.height)}h-{width}z"


def shapes(
    runs: Sequence[Run],
    band: Band,
    style: Callable[[int], str],
    title: Callable[[Run], str],
    summary: Callable[[int], str],
) -> str:
    """Return the runs as SVG: wide ones with a tooltip each, the narrow ones of a label as one path.

    `style` gives the CSS class of a label (none: it is not drawn), `title` the tooltip of a run and
    `summary` that of the narrow runs of a label together.
    """
    wide: list[str] = []
    narrow: dict[int, list[str]] = {}
    for run in runs:
        if not style(run.label):
            continue
        if (run.end - run.start) * band.unit < TITLED:
            narrow.setdefault(run.label, []).append(band.piece(run))
        else:
            wide.append(_path(style(run.label), band.piece(run), title(run)))
    merged = [_path(style(label), "".join(pieces), summary(label)) for label, pieces in narrow.items()]
    return "".join(merged + wide)


def short(number: float) -> str:
    """Return a coordinate to a tenth, without zeros that say nothing."""
    return f"{number:.1f}".removesuffix(".0")


def _path(style: str, outline: str, title: str) -> str:
    inner = f"><title>{escaped(title)}</title></path>" if title else "/>"
    return f'<path class="{style}" d="{outline}"{inner}'
