# SPDX-License-Identifier: Apache-2.0
"""Average precision and FPR at a recall over all resamples of videos at once.

Both need, at each score that a positive row has, how many rows and how many positives lie at or above it.
These counts are sums over videos: a table `[K, V]` of the K thresholds, times the weights `[V, R]` of the
videos, gives them for every resample in one matrix product, and no resample is sorted again. Counts are
below 2^24, so the products are exact in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]
Scores = NDArray[np.floating]
Numbers = NDArray[np.float64]
BLOCK = 1024  # thresholds at a time, so that memory does not grow with T
EXACT_IN_FLOAT32 = 2**24


@dataclass(frozen=True)
class Ranked:
    """One class under each row of weights `[R]`; NaN where undefined."""

    average_precision: Numbers
    fpr_at_recall: Numbers


def resampled_ranking(
    truth: Labels, scores: Scores, video: Labels, weights: Numbers, *, recall: float = 0.95
) -> Ranked:
    """Rank rows `[T]` of the videos `video` `[T]`, which count `weights` `[R, V]` times.

    Under weights of one it equals `average_precision` and `false_positive_rate_at_recall`.
    """
    num_resamples, num_videos = weights.shape
    positive = np.asarray(truth).astype(bool)
    largest = (weights @ _count(video, num_videos)).max(initial=0)
    exact = np.dtype(np.float32 if largest < EXACT_IN_FLOAT32 else np.float64)
    columns: NDArray[np.floating] = np.ascontiguousarray(weights.T, dtype=exact)
    positives = _count(video[positive], num_videos) @ weights.T
    negatives = _count(video[~positive], num_videos) @ weights.T
    wanted = np.ceil(recall * positives)
    area, alarms = np.zeros(num_resamples), np.full(num_resamples, np.nan)
    before = np.zeros(num_resamples, dtype=exact)
    for hits_at, rows_at in _thresholds(positive, np.asarray(scores), video, num_videos):
        hits: NDArray[np.floating] = hits_at.astype(exact) @ columns
        rows: NDArray[np.floating] = rows_at.astype(exact) @ columns
        chosen = np.flatnonzero(np.isnan(alarms) & (hits[-1] >= wanted))  # reached in this block
        first = (hits[:, chosen] >= wanted[chosen]).argmax(axis=0)
        alarms[chosen] = rows[first, chosen] - hits[first, chosen]
        gained = np.empty_like(hits)
        np.subtract(hits[0], before, out=gained[0])
        np.subtract(hits[1:], hits[:-1], out=gained[1:])
        before = hits[-1].copy()
        precision = np.divide(hits, np.maximum(rows, 1, out=rows), out=hits)  # no row: no hit either
        area += np.einsum("kr,kr->r", gained, precision, dtype=np.float64)
    found = positives > 0
    return Ranked(
        np.divide(area, positives, out=np.full(num_resamples, np.nan), where=found),
        np.divide(alarms, negatives, out=np.full(num_resamples, np.nan), where=found & (negatives > 0)),
    )


def _thresholds(
    positive: NDArray[np.bool_], scores: Scores, video: Labels, num_videos: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield blocks of the tables `[k, V]`: positives, and rows, at or above each positive's score."""
    levels = np.unique(scores[positive])[::-1]
    # The threshold at which a row is first counted: rows below all of them never are.
    place = levels.size - np.searchsorted(levels[::-1], scores, side="right")
    order = np.argsort(place, kind="stable")
    place, positive, video = place[order], positive[order], video[order]
    hits_before, rows_before = np.zeros(num_videos, np.int64), np.zeros(num_videos, np.int64)
    for begin in range(0, levels.size, BLOCK):
        size = min(BLOCK, levels.size - begin)
        part = slice(*np.searchsorted(place, (begin, begin + size)))
        cells = (place[part] - begin) * num_videos + video[part]
        new_rows = np.bincount(cells, minlength=size * num_videos).reshape(size, num_videos)
        new_hits = np.bincount(cells[positive[part]], minlength=size * num_videos).reshape(size, num_videos)
        hits, rows = new_hits.cumsum(axis=0) + hits_before, new_rows.cumsum(axis=0) + rows_before
        yield hits, rows
        hits_before, rows_before = hits[-1], rows[-1]


def _count(video: Labels, num_videos: int) -> Numbers:
    return np.bincount(video, minlength=num_videos).astype(np.float64)
