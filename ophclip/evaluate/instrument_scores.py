# SPDX-License-Identifier: Apache-2.0
"""Multi-instrument recognition from predictions to named numbers, over all rows together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate import metrics
from ophclip.evaluate.drawn import Draws, plain
from ophclip.evaluate.predictions import Predictions

RULES = {
    "prompt_softmax": "positive-vs-negative prompt softmax > 0.5",
    "cosine_sigmoid": "sigmoid of the cosine to the positive prompts > 0.5",
    "probe_sigmoid": "probability of the one-vs-rest probe > 0.5",
}
Numbers = NDArray[np.float64]


def instrument_scores(predictions: Predictions) -> dict[str, Any]:
    """Score multi-instrument recognition over all rows together.

    The fact `instrument_rule` names how an instrument is said to be present: `prompt_softmax`, or
    `probe_sigmoid`. Prompts have the rule `cosine_sigmoid` beside it.
    """
    draws, names = Draws.of(predictions), predictions.instrument_names
    rule = predictions.facts.get("instrument_rule", "prompt_softmax")
    truth, scores, probabilities, video = _joined(predictions)
    ranked = [
        metrics.resampled_ranking(truth[:, c], scores[:, c], video, draws.weights) for c in range(len(names))
    ]
    counted = _Counted.of(truth, video, draws)
    fired = {rule: probabilities > 0.5}
    if rule == "prompt_softmax":
        fired["cosine_sigmoid"] = scores > 0  # where the sigmoid of the cosine is above one half
    alarms = {name: counted.of_rows((truth == 0) & said) for name, said in fired.items()}
    precisions = np.stack([part.average_precision for part in ranked], axis=1)
    at_recall = np.stack([part.fpr_at_recall for part in ranked], axis=1)
    chances = counted.prevalence()
    values = {
        "map.pooled.defined_classes": metrics.mean_of_defined(precisions),
        "map.chance_prevalence": metrics.mean_of_defined(chances),
    }
    for name, count in alarms.items():
        values[f"fpr.micro.{name}"] = _ratio(count.sum(axis=1), counted.negatives.sum(axis=1))
        values[f"fpr.macro.{name}"] = metrics.mean_of_defined(_ratio(count, counted.negatives))
    values["fpr.macro.at_95_recall"] = metrics.mean_of_defined(at_recall)
    rates = _ratio(alarms[rule], counted.negatives)
    by_class = {}
    for c, name in enumerate(names):
        of_class = {
            "average_precision": precisions[:, c],
            "chance": chances[:, c],
            "fpr": rates[:, c],
            "fpr_at_95_recall": at_recall[:, c],
        }
        by_class[name] = {
            "frames": int(counted.positives[0, c]),
            **draws.numbers(of_class),
            "threshold_at_95_recall": plain(metrics.threshold_at_recall(truth[:, c], scores[:, c])),
        }
    return {
        **draws.numbers(values),
        "fpr_rule": RULES[rule],
        "fpr_rules": {name: RULES[name] for name in fired},
        "frames": len(truth),
        "empty_classes": [name for name in names if not by_class[name]["frames"]],
        "by_class": by_class,
    }


class _Counted:
    """Counts of rows by class, as sums over videos, under every resample `[R, C]`."""

    def __init__(self, video: NDArray[np.int64], draws: Draws) -> None:
        self._video, self._weights = video, draws.weights
        self.positives = self.negatives = np.zeros((0, 0))

    @classmethod
    def of(cls, truth: NDArray[np.int64], video: NDArray[np.int64], draws: Draws) -> _Counted:
        counted = cls(video, draws)
        counted.positives, counted.negatives = counted.of_rows(truth != 0), counted.of_rows(truth == 0)
        return counted

    def of_rows(self, marked: NDArray[np.bool_]) -> Numbers:
        """Count marked rows `[T, C]`."""
        num_videos = self._weights.shape[1]
        columns = [np.bincount(self._video[marks], minlength=num_videos) for marks in marked.T]
        return self._weights @ np.array(columns, dtype=np.float64).reshape(-1, num_videos).T

    def prevalence(self) -> Numbers:
        """Return the share of positive rows `[R, C]`, NaN for a class without any."""
        shares = _ratio(self.positives, self.positives + self.negatives)
        return np.where(self.positives > 0, shares, np.nan)


def _joined(
    predictions: Predictions,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return truth, scores and probabilities `[T, C]` of all videos, and the video of each row `[T]`."""
    videos, shape = predictions.videos, (0, len(predictions.instrument_names))
    present = [video.true_instruments for video in videos if video.true_instruments is not None]
    nothing = np.zeros(shape, dtype=np.float32)
    return (
        np.concatenate([np.zeros(shape, dtype=np.int64), *present]),
        np.concatenate([nothing, *(video.instrument_scores for video in videos)]),
        np.concatenate([nothing, *(video.instrument_probabilities for video in videos)]),
        np.repeat(np.arange(len(videos)), [len(video.times_s) for video in videos]),
    )


def _ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    ratio: Numbers = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio
