# SPDX-License-Identifier: Apache-2.0
"""Metrics of phase recognition and multi-instrument recognition, in NumPy alone.

Phases are class indices; -1 marks a frame that is not scored, in the truth only. Instruments are 0/1
matrices `[T, C]`. A metric that is undefined (no positives, no negatives) is None, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]
Scores = NDArray[np.floating]


def confusion_matrix(truth: Labels, predicted: Labels, num_classes: int) -> NDArray[np.int64]:
    """Count frames by (true, predicted) class: `[C, C]`; frames whose truth is -1 are left out.

    Raises:
        ValueError: shapes differ, or a label lies outside [0, num_classes) (truth: -1 allowed).
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth and predicted must be [T], got {truth.shape} and {predicted.shape}")
    scored = truth != -1
    truth, predicted = truth[scored], predicted[scored]
    for name, labels in (("truth", truth), ("predicted", predicted)):
        if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
            raise ValueError(f"{name} must lie in [0, {num_classes}), got [{labels.min()}, {labels.max()}]")
    cells = np.bincount(truth * num_classes + predicted, minlength=num_classes * num_classes)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall, F1 and Jaccard of each class `[C]` from a confusion matrix, 0 where 0/0.

    `present` marks classes that occur in the truth or in the predictions.
    """

    precision: Scores
    recall: Scores
    f1: Scores
    jaccard: Scores
    present: NDArray[np.bool_]

    def macro(self, name: str, *, labels: str = "present") -> float | None:
        """Return the mean over classes: those "present" (scikit-learn's default), or "all"."""
        values: Scores = getattr(self, name)
        chosen = values[self.present] if labels == "present" else values
        return float(chosen.mean()) if chosen.size else None


def class_scores(confusion: NDArray[np.int64]) -> ClassScores:
    """Return the scores of each class; rows of `confusion` `[C, C]` are the truth."""
    hits = np.diag(confusion).astype(np.float64)
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return ClassScores(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, true),
        f1=_ratio(2 * hits, true + predicted),
        jaccard=_ratio(hits, true + predicted - hits),
        present=(true + predicted) > 0,
    )


def accuracy(confusion: NDArray[np.int64]) -> float | None:
    """Return the share of scored frames that are right, None without any."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else None


def mean_of_defined(values: Sequence[float | None]) -> float | None:
    """Return the mean of the defined values, None without any."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def average_precision(truth: Labels, scores: Scores) -> float | None:
    """Return the area under the precision-recall steps, ties taken together; None without positives.

    Equal to `sklearn.metrics.average_precision_score`.
    """
    truth, scores = np.asarray(truth).astype(bool), np.asarray(scores, dtype=np.float64)
    if truth.shape != scores.shape or truth.ndim != 1:
        raise ValueError(f"truth and scores must be [T], got {truth.shape} and {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite, got NaN or infinity")
    if not truth.any():
        return None
    order = np.argsort(-scores, kind="stable")
    hits, ranked = truth[order].cumsum(), scores[order]
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    hits, ranks = hits[last_of_tie], np.flatnonzero(last_of_tie) + 1
    recall_gained = np.diff(hits, prepend=0) / hits[-1]
    return float((recall_gained * hits / ranks).sum())


def average_precisions(truth: Labels, scores: Scores) -> list[float | None]:
    """Return the average precision of each class of `[T, C]`."""
    return [average_precision(truth[:, c], scores[:, c]) for c in range(truth.shape[1])]


def prevalence(truth: Labels) -> list[float | None]:
    """Return the share of positive frames of each class of `[T, C]`: what a random ranking's AP tends to.

    None for a class without positives, which has no average precision either.
    """
    shares = np.asarray(truth).mean(axis=0) if len(truth) else np.zeros(truth.shape[1])
    return [float(share) if share > 0 else None for share in shares]


def false_positive_rates(truth: Labels, positive: Labels) -> list[float | None]:
    """Return FP / (FP + TN) of each class of `[T, C]`, None for a class without negatives."""
    negative = np.asarray(truth) == 0
    fired = (np.asarray(positive) != 0) & negative
    return [
        float(fp / n) if n else None for fp, n in zip(fired.sum(axis=0), negative.sum(axis=0), strict=True)
    ]


def micro_false_positive_rate(truth: Labels, positive: Labels) -> float | None:
    """Return FP / (FP + TN) over all classes together, None without negatives."""
    negative = np.asarray(truth) == 0
    total = int(negative.sum())
    return float(((np.asarray(positive) != 0) & negative).sum() / total) if total else None


def false_positive_rate_at_recall(truth: Labels, scores: Scores, recall: float = 0.95) -> float | None:
    """Return the false positive rate at the highest threshold that reaches `recall`, for one class `[T]`.

    None where the class has no positives or no negatives.
    """
    truth, scores = np.asarray(truth).astype(bool), np.asarray(scores)
    if truth.all() or not truth.any():
        return None
    found = np.sort(scores[truth])[::-1]
    threshold = found[int(np.ceil(recall * found.size)) - 1]
    return float((scores[~truth] >= threshold).mean())


def _ratio(numerator: Scores, denominator: NDArray[np.number]) -> Scores:
    ratio: Scores = np.zeros(numerator.shape)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio
