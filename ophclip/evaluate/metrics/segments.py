# SPDX-License-Identifier: Apache-2.0
"""Metrics of stretches of equal labels: whether the order of phases is right, and where they lie.

Rows that are not scored are taken out before the stretches are formed, of truth and prediction alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]
UNSCORED = -1


def segments(labels: Labels) -> tuple[Labels, NDArray[np.int64]]:
    """Return the label of each stretch `[S]` and its bounds in rows `[S + 1]`."""
    labels = np.asarray(labels)
    if not labels.size:
        return labels, np.zeros(1, dtype=np.int64)
    begins = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    return labels[begins], np.r_[begins, labels.size].astype(np.int64)


def edit_score(truth: Labels, predicted: Labels) -> float:
    """Return 1 - distance / longer, of the sequences of stretches; NaN without a scored row.

    The distance is Levenshtein's: what must be put in, taken out or replaced.
    """
    (true, _), (said, _) = _stretches(truth, predicted)
    if not true.size:
        return float("nan")
    steps = np.arange(said.size + 1)
    row = steps.copy()
    for label in true:
        best = np.minimum(row[1:] + 1, row[:-1] + (said != label))
        best = np.r_[row[0] + 1, best]
        row = np.minimum.accumulate(best - steps) + steps  # what was put in, from the left
    return float(1 - row[-1] / max(true.size, said.size))


def matched_segments(truth: Labels, predicted: Labels, overlaps: Sequence[float]) -> NDArray[np.int64]:
    """Count stretches `[len(overlaps) + 2]`: those matched at each overlap, then true and predicted ones.

    A predicted stretch matches the true one of its class with which it has the largest intersection over
    union, if that reaches the overlap; a true stretch is matched once. F1 = 2 matched / (true + predicted).
    """
    (true, true_bounds), (said, said_bounds) = _stretches(truth, predicted)
    if not true.size:
        return np.zeros(len(overlaps) + 2, dtype=np.int64)
    # Only stretches that share a row can match, and each shared piece lies between two neighbouring bounds.
    begins = np.union1d(true_bounds, said_bounds)
    shared, begins = np.diff(begins), begins[:-1]
    of_true = np.searchsorted(true_bounds, begins, side="right") - 1
    of_said = np.searchsorted(said_bounds, begins, side="right") - 1
    union = np.diff(true_bounds)[of_true] + np.diff(said_bounds)[of_said] - shared
    ratio = np.where(true[of_true] == said[of_said], shared / union, 0)
    order = np.lexsort((of_true, -ratio, of_said))  # the best of each predicted one first, then the earliest
    best = order[np.unique(of_said[order], return_index=True)[1]]
    matched = [np.unique(of_true[best[ratio[best] >= overlap]]).size for overlap in overlaps]
    return np.array([*matched, true.size, said.size], dtype=np.int64)


def _stretches(
    truth: Labels, predicted: Labels
) -> tuple[tuple[Labels, NDArray[np.int64]], tuple[Labels, NDArray[np.int64]]]:
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth and predicted must be [T], got {truth.shape} and {predicted.shape}")
    scored = truth != UNSCORED
    return segments(truth[scored]), segments(predicted[scored])
