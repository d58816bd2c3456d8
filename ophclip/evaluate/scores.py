# SPDX-License-Identifier: Apache-2.0
"""From predictions to named numbers: every name carries its averaging rule."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate import metrics
from ophclip.evaluate.predictions import Predictions, VideoPrediction

FPR_RULE = "positive-vs-negative prompt softmax > 0.5"


def phase_scores(predictions: Predictions) -> dict[str, Any]:
    """Score phase recognition per video, then averaged, and pooled over all frames."""
    num_classes = len(predictions.phase_names)
    by_video = [
        metrics.confusion_matrix(_phases(prediction), prediction.phases, num_classes)
        for prediction in predictions.videos
    ]
    pooled = np.sum(by_video, axis=0)
    scored = metrics.class_scores(pooled)
    counts = pooled.sum(axis=1)

    def per_video(name: str) -> float | None:
        return metrics.mean_of_defined([metrics.class_scores(c).macro(name) for c in by_video])

    accuracies = [metrics.accuracy(confusion) for confusion in by_video]
    return {
        "accuracy.per_video_mean": metrics.mean_of_defined(accuracies),
        "accuracy.pooled": metrics.accuracy(pooled),
        "accuracy.chance_uniform": 1 / num_classes,
        "accuracy.chance_majority": float(counts.max() / counts.sum()) if counts.sum() else None,
        **{f"{name}.per_video_mean.present": per_video(name) for name in ("f1", "precision", "recall")},
        **{
            f"{name}.pooled.{labels}": scored.macro(name, labels=labels)
            for name in ("f1", "precision", "recall", "jaccard")
            for labels in ("present", "all")
        },
        "scored_frames": int(counts.sum()),
        "by_class": {
            name: _class_numbers(scored, c, frames=int(counts[c]), predicted=int(pooled[:, c].sum()))
            for c, name in enumerate(predictions.phase_names)
        },
        "by_video": {
            video.video_id: value for video, value in zip(predictions.videos, accuracies, strict=True)
        },
        "confusion": pooled.tolist(),
    }


def _class_numbers(
    scored: metrics.ClassScores, c: int, *, frames: int, predicted: int
) -> dict[str, float | None]:
    """Return the scores of one class; where macro means take 0 for 0/0, its own number is None."""
    return {
        "frames": frames,
        "precision": float(scored.precision[c]) if predicted else None,
        "recall": float(scored.recall[c]) if frames else None,
        "f1": float(scored.f1[c]) if frames or predicted else None,
    }


def instrument_scores(predictions: Predictions) -> dict[str, Any]:
    """Score multi-instrument recognition over all frames together."""
    truth = np.concatenate([_instruments(prediction) for prediction in predictions.videos])
    cosines = np.concatenate([prediction.instrument_scores for prediction in predictions.videos])
    probabilities = np.concatenate([prediction.instrument_probabilities for prediction in predictions.videos])
    precisions = metrics.average_precisions(truth, cosines)
    chances = metrics.prevalence(truth)
    fired = (probabilities > 0.5).astype(np.int64)
    rates = metrics.false_positive_rates(truth, fired)
    above_zero = (cosines > 0).astype(np.int64)  # where the sigmoid of the cosine is above one half
    at_recall = [
        metrics.false_positive_rate_at_recall(truth[:, c], cosines[:, c]) for c in range(truth.shape[1])
    ]
    return {
        "map.pooled.defined_classes": metrics.mean_of_defined(precisions),
        "map.chance_prevalence": metrics.mean_of_defined(chances),
        "fpr.micro.prompt_softmax": metrics.micro_false_positive_rate(truth, fired),
        "fpr.macro.prompt_softmax": metrics.mean_of_defined(rates),
        "fpr.micro.cosine_sigmoid": metrics.micro_false_positive_rate(truth, above_zero),
        "fpr.macro.cosine_sigmoid": metrics.mean_of_defined(metrics.false_positive_rates(truth, above_zero)),
        "fpr.macro.at_95_recall": metrics.mean_of_defined(at_recall),
        "fpr_rule": FPR_RULE,
        "frames": len(truth),
        "by_class": {
            name: {
                "frames": int(truth[:, c].sum()),
                "average_precision": precisions[c],
                "chance": chances[c],
                "fpr": rates[c],
            }
            for c, name in enumerate(predictions.instrument_names)
        },
    }


def _phases(prediction: VideoPrediction) -> NDArray[np.int64]:
    assert prediction.true_phases is not None
    return prediction.true_phases


def _instruments(prediction: VideoPrediction) -> NDArray[np.int64]:
    assert prediction.true_instruments is not None
    return prediction.true_instruments
