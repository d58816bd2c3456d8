# SPDX-License-Identifier: Apache-2.0
"""Metrics of scores that rank rows, one class at a time, and of what a threshold makes of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]
Scores = NDArray[np.floating]
Numbers = NDArray[np.float64]
NAN = float("nan")


def average_precision(truth: Labels, scores: Scores) -> float:
    """Return the area under the precision-recall steps, ties taken together; NaN without positives.

    Equal to `sklearn.metrics.average_precision_score`.

    Raises:
        ValueError: shapes differ, or a score is NaN or infinite.
    """
    positive, scores = _checked(truth, scores)
    if not positive.any():
        return NAN
    order = np.argsort(-scores, kind="stable")
    hits, ranked = positive[order].cumsum(), scores[order]
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    hits, ranks = hits[last_of_tie], np.flatnonzero(last_of_tie) + 1
    recall_gained = np.diff(hits, prepend=0) / hits[-1]
    return float((recall_gained * hits / ranks).sum())


def average_precisions(truth: Labels, scores: Scores) -> Numbers:
    """Return the average precision of each class of `[T, C]`."""
    return np.array([average_precision(truth[:, c], scores[:, c]) for c in range(truth.shape[1])])


def prevalence(truth: Labels) -> Numbers:
    """Return the share of positive rows of each class of `[T, C]`: what a random ranking's AP tends to.

    NaN for a class without positives, which has no average precision either.
    """
    truth = np.asarray(truth)
    shares = truth.mean(axis=0) if len(truth) else np.zeros(truth.shape[1])
    return np.where(shares > 0, shares, NAN)


def false_positive_rates(truth: Labels, positive: Labels) -> Numbers:
    """Return FP / (FP + TN) of each class of `[T, C]`, NaN for a class without negatives."""
    negative = np.asarray(truth) == 0
    fired = ((np.asarray(positive) != 0) & negative).sum(axis=0).astype(np.float64)
    total = negative.sum(axis=0)
    rates: Numbers = np.divide(fired, total, out=np.full(fired.shape, NAN), where=total > 0)
    return rates


def micro_false_positive_rate(truth: Labels, positive: Labels) -> float:
    """Return FP / (FP + TN) over all classes together, NaN without negatives."""
    negative = np.asarray(truth) == 0
    total = int(negative.sum())
    return float(((np.asarray(positive) != 0) & negative).sum() / total) if total else NAN


def threshold_at_recall(truth: Labels, scores: Scores, recall: float = 0.95) -> float:
    """Return the highest score at which `recall` of the positives are found, for one class `[T]`."""
    positive, scores = _checked(truth, scores)
    found = np.sort(scores[positive])[::-1]
    return float(found[int(np.ceil(recall * found.size)) - 1]) if found.size else NAN


def false_positive_rate_at_recall(truth: Labels, scores: Scores, recall: float = 0.95) -> float:
    """Return the false positive rate at the highest threshold that reaches `recall`, for one class `[T]`.

    NaN where the class has no positives or no negatives.
    """
    positive, scores = _checked(truth, scores)
    if positive.all() or not positive.any():
        return NAN
    return float((scores[~positive] >= threshold_at_recall(truth, scores, recall)).mean())


def _checked(truth: Labels, scores: Scores) -> tuple[NDArray[np.bool_], Scores]:
    positive, scores = np.asarray(truth).astype(bool), np.asarray(scores, dtype=np.float64)
    if positive.shape != scores.shape or positive.ndim != 1:
        raise ValueError(f"truth and scores must be [T], got {positive.shape} and {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite, got NaN or infinity")
    return positive, scores
