# SPDX-License-Identifier: Apache-2.0
"""Phase recognition from predictions to named numbers: every name carries its averaging rule."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate import metrics
from ophclip.evaluate.drawn import Draws, plain
from ophclip.evaluate.predictions import Predictions, VideoPrediction

OVERLAPS = (0.1, 0.25, 0.5)
Numbers = NDArray[np.float64]


def phase_scores(predictions: Predictions) -> dict[str, Any]:
    """Score phase recognition per video, then averaged, and pooled over all rows."""
    draws = Draws.of(predictions)
    videos, names = predictions.videos, predictions.phase_names
    counts = _counts(predictions)
    pooled = counts.weighted(draws.weights)
    scored = metrics.class_scores(pooled)
    accuracies = metrics.accuracy(counts)
    values = {
        "accuracy.per_video_mean": metrics.mean_over_videos(accuracies, draws.weights),
        "accuracy.pooled": metrics.accuracy(pooled),
        "accuracy.chance_uniform": np.full(len(draws.weights), 1 / len(names)),
        "accuracy.chance_majority": _majority(pooled),
        **_macro_means(counts, scored, draws),
        **(_stretches(videos, draws) if predictions.facts["unit"] == "second" else {}),
    }
    return {
        **draws.numbers(values),
        "scored_frames": int(pooled.true[0].sum()),
        "empty_classes": [name for c, name in enumerate(names) if not pooled.true[0, c]],
        "by_class": {name: _class_numbers(scored, pooled, c, draws) for c, name in enumerate(names)},
        "by_video": {video.video_id: plain(value) for video, value in zip(videos, accuracies, strict=True)},
        "confusion": _confusion(predictions).tolist(),
    }


def _counts(predictions: Predictions) -> metrics.ClassCounts:
    truth, said = _joined(predictions)
    rows = [len(video.times_s) for video in predictions.videos]
    number = np.repeat(np.arange(len(rows)), rows)
    return metrics.counts_by_video(truth, said, number, len(predictions.phase_names), len(rows))


def _confusion(predictions: Predictions) -> NDArray[np.int64]:
    return metrics.confusion_matrix(*_joined(predictions), len(predictions.phase_names))


def _joined(predictions: Predictions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    nothing = np.zeros(0, dtype=np.int64)
    truth = [truth_of(video) for video in predictions.videos]
    said = [video.phases for video in predictions.videos]
    return np.concatenate([nothing, *truth]), np.concatenate([nothing, *said])


def _majority(pooled: metrics.ClassCounts) -> Numbers:
    total = pooled.true.sum(axis=1)
    share: Numbers = np.full(total.shape, np.nan)
    np.divide(pooled.true.max(axis=1), total, out=share, where=total > 0)
    return share


def _macro_means(
    counts: metrics.ClassCounts, scored: metrics.ClassScores, draws: Draws
) -> dict[str, Numbers]:
    by_video = metrics.class_scores(counts)
    nothing = counts.true.sum(axis=1) == 0  # a video without a scored row has no mean of all classes either
    values = {}
    for name in ("f1", "precision", "recall", "jaccard"):
        for labels in ("present", "all"):
            means = np.where(nothing, np.nan, by_video.macro(name, labels=labels))
            values[f"{name}.per_video_mean.{labels}"] = metrics.mean_over_videos(means, draws.weights)
            values[f"{name}.pooled.{labels}"] = scored.macro(name, labels=labels)
    return values


def _stretches(videos: list[VideoPrediction], draws: Draws) -> dict[str, Numbers]:
    """Score the order of phases and the stretches that they fill."""
    edits = np.array([metrics.edit_score(truth_of(video), video.phases) for video in videos])
    matched = np.array(
        [metrics.matched_segments(truth_of(video), video.phases, OVERLAPS) for video in videos],
        dtype=np.float64,
    ).reshape(len(videos), len(OVERLAPS) + 2)
    values = {"edit.per_video_mean": metrics.mean_over_videos(edits, draws.weights)}
    pooled = draws.weights @ matched
    for column, overlap in enumerate(OVERLAPS):
        name = f"segmental_f1_at_{100 * overlap:.0f}"
        by_video = _matched_f1(matched, column)
        values[f"{name}.per_video_mean"] = metrics.mean_over_videos(by_video, draws.weights)
        values[f"{name}.pooled"] = _matched_f1(pooled, column)
    return values


def _matched_f1(counts: Numbers, column: int) -> Numbers:
    total = counts[:, -2] + counts[:, -1]
    f1: Numbers = np.full(total.shape, np.nan)
    np.divide(2 * counts[:, column], total, out=f1, where=total > 0)
    return f1


def _class_numbers(
    scored: metrics.ClassScores, pooled: metrics.ClassCounts, c: int, draws: Draws
) -> dict[str, Any]:
    """Return the scores of one class; where macro means take 0 for 0/0, its own number is None."""
    true, predicted = pooled.true[:, c], pooled.predicted[:, c]
    values = {
        "precision": np.where(predicted > 0, scored.precision[:, c], np.nan),
        "recall": np.where(true > 0, scored.recall[:, c], np.nan),
        "f1": np.where(scored.present[:, c], scored.f1[:, c], np.nan),
        "jaccard": np.where(scored.present[:, c], scored.jaccard[:, c], np.nan),
    }
    return {"frames": int(true[0]), **draws.numbers(values)}


def truth_of(video: VideoPrediction) -> NDArray[np.int64]:
    """Return the true phases `[T]` of a video of a dataset that has phases."""
    assert video.true_phases is not None
    return video.true_phases
