# SPDX-License-Identifier: Apache-2.0
"""From predictions to named numbers: every name carries its averaging rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate import metrics
from ophclip.evaluate.datasets.dataset import UNSCORED, Dataset, Item

FPR_RULE = "positive-vs-negative prompt softmax > 0.5"


@dataclass(frozen=True)
class VideoPrediction:
    """What the model said of one video, at the seconds of its labels."""

    item: Item
    times_s: NDArray[np.float64]  # [T]
    phase_probabilities: NDArray[np.float32]  # [T, C]
    instrument_cosines: NDArray[np.float32]  # [T, C]
    instrument_probabilities: NDArray[np.float32]  # [T, C]

    @property
    def phases(self) -> NDArray[np.int64]:
        """The most probable phase of each frame `[T]`."""
        best: NDArray[np.int64] = self.phase_probabilities.argmax(axis=1)
        return best


def phase_scores(dataset: Dataset, predictions: Sequence[VideoPrediction]) -> dict[str, Any]:
    """Score phase recognition per video, then averaged, and pooled over all frames."""
    num_classes = len(dataset.phase_names)
    by_video = [
        metrics.confusion_matrix(_phases(prediction), prediction.phases, num_classes)
        for prediction in predictions
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
            for c, name in enumerate(dataset.phase_names)
        },
        "by_video": {
            prediction.item.video_id: value for prediction, value in zip(predictions, accuracies, strict=True)
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


def instrument_scores(dataset: Dataset, predictions: Sequence[VideoPrediction]) -> dict[str, Any]:
    """Score multi-instrument recognition over all frames together."""
    truth = np.concatenate([_instruments(prediction) for prediction in predictions])
    cosines = np.concatenate([prediction.instrument_cosines for prediction in predictions])
    probabilities = np.concatenate([prediction.instrument_probabilities for prediction in predictions])
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
            for c, name in enumerate(dataset.instrument_names)
        },
    }


def _phases(prediction: VideoPrediction) -> NDArray[np.int64]:
    assert prediction.item.phases is not None
    return prediction.item.phases[: len(prediction.times_s)]


def _instruments(prediction: VideoPrediction) -> NDArray[np.int64]:
    assert prediction.item.instruments is not None
    return prediction.item.instruments[: len(prediction.times_s)]


def num_unscored(predictions: Sequence[VideoPrediction]) -> int:
    """Count frames whose phase is not scored."""
    return int(sum((_phases(p) == UNSCORED).sum() for p in predictions if p.item.phases is not None))
