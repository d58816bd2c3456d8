# SPDX-License-Identifier: Apache-2.0
"""Accuracy, precision, recall, F1 and Jaccard index of one label a row.

All of them follow from three counts a class, which add up over rows and over videos: so a mean over
resampled videos costs one matrix product, whatever the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate.metrics.intervals import mean_of_defined

Labels = NDArray[np.integer]
Numbers = NDArray[np.float64]
UNSCORED = -1


@dataclass(frozen=True)
class ClassCounts:
    """Rows by class `[..., C]`: right ones, those of the truth, and those predicted."""

    hits: Numbers
    true: Numbers
    predicted: Numbers

    def weighted(self, weights: Numbers) -> ClassCounts:
        """Return sums of counts `[V, C]` over videos that count `weights` `[R, V]` times: `[R, C]`."""
        return ClassCounts(weights @ self.hits, weights @ self.true, weights @ self.predicted)


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall, F1 and Jaccard index of each class `[..., C]`, 0 where 0/0.

    `present` marks classes that occur in the truth or in the predictions.
    """

    precision: Numbers
    recall: Numbers
    f1: Numbers
    jaccard: Numbers
    present: NDArray[np.bool_]

    def macro(
        self, name: Literal["precision", "recall", "f1", "jaccard"], *, labels: Literal["present", "all"]
    ) -> Numbers:
        """Return the mean over classes `[...]`: those "present" (scikit-learn's default), or "all"."""
        values: Numbers = getattr(self, name)
        if labels == "present":
            values = np.where(self.present, values, np.nan)
        return mean_of_defined(values)


def confusion_matrix(truth: Labels, predicted: Labels, num_classes: int) -> NDArray[np.int64]:
    """Count rows by (true, predicted) class: `[C, C]`; rows whose truth is -1 are left out.

    Raises:
        ValueError: shapes differ, or a label lies outside [0, num_classes) (truth: -1 allowed).
    """
    truth, predicted = _scored(truth, predicted, num_classes)[:2]
    cells = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def counts_of(confusion: NDArray[np.integer]) -> ClassCounts:
    """Return the counts of each class; rows of `confusion` `[..., C, C]` are the truth."""
    cells = np.asarray(confusion, dtype=np.float64)
    return ClassCounts(np.diagonal(cells, axis1=-2, axis2=-1), cells.sum(axis=-1), cells.sum(axis=-2))


def counts_by_video(
    truth: Labels, predicted: Labels, video: Labels, num_classes: int, num_videos: int
) -> ClassCounts:
    """Return the counts `[V, C]` of rows `[T]` that belong to the videos `video` `[T]`; -1 is left out.

    Raises:
        ValueError: shapes differ, or a label lies outside [0, num_classes) (truth: -1 allowed).
    """
    truth, predicted, scored = _scored(truth, predicted, num_classes)
    video = np.asarray(video)[scored]

    def counted(labels: Labels, chosen: NDArray[np.bool_] | slice) -> Numbers:
        places = (video * num_classes + labels)[chosen]
        cells = np.bincount(places, minlength=num_videos * num_classes)
        return cells.reshape(num_videos, num_classes).astype(np.float64)

    everything = slice(None)
    return ClassCounts(
        counted(truth, truth == predicted), counted(truth, everything), counted(predicted, everything)
    )


def class_scores(counts: ClassCounts) -> ClassScores:
    """Return the scores of each class."""
    hits, both = counts.hits, counts.true + counts.predicted
    return ClassScores(
        precision=_ratio(hits, counts.predicted),
        recall=_ratio(hits, counts.true),
        f1=_ratio(2 * hits, both),
        jaccard=_ratio(hits, both - hits),
        present=both > 0,
    )


def accuracy(counts: ClassCounts) -> Numbers:
    """Return the share of scored rows that are right `[...]`, NaN without any."""
    return _ratio(counts.hits.sum(axis=-1), counts.true.sum(axis=-1), undefined=np.nan)


def _scored(truth: Labels, predicted: Labels, num_classes: int) -> tuple[Labels, Labels, NDArray[np.bool_]]:
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth and predicted must be [T], got {truth.shape} and {predicted.shape}")
    scored = truth != UNSCORED
    truth, predicted = truth[scored], predicted[scored]
    for name, labels in (("truth", truth), ("predicted", predicted)):
        if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
            raise ValueError(f"{name} must lie in [0, {num_classes}), got {labels.min()} to {labels.max()}")
    return truth, predicted, scored


def _ratio(numerator: Numbers, denominator: Numbers, *, undefined: float = 0.0) -> Numbers:
    ratio: Numbers = np.full(np.shape(numerator), undefined)
    np.divide(numerator, denominator, out=ratio, where=np.asarray(denominator) > 0)
    return ratio
