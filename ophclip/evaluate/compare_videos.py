# SPDX-License-Identifier: Apache-2.0
"""One number a video for each metric, so that two runs can be compared video by video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate import metrics
from ophclip.evaluate.predictions import Predictions, VideoPrediction

Numbers = NDArray[np.float64]
PRESENT = 0.5  # a probability above it says that the instrument is in view


@dataclass(frozen=True)
class VideoMetric:
    """A metric of one video: its name, a plain one, and the rule; averaged over videos in a comparison.

    `family` begins the names of the numbers over all videos that measure the same.
    """

    name: str
    family: str
    label: str
    rule: str
    more_is_better: bool = True


ACCURACY = VideoMetric(
    "accuracy.by_video", "accuracy.", "phase accuracy", "share of a video's scored rows that are right"
)
F1 = VideoMetric(
    "f1.by_video.present", "f1.", "phase F1", "macro F1 over phases true or predicted in a video"
)
PRECISION = VideoMetric(
    "map.by_video.defined_classes",
    "map.",
    "instrument mAP",
    "mean average precision over instruments that occur in a video",
)
FALSE_REPORTS = VideoMetric(
    "fpr.by_video.micro",
    "fpr.micro.",
    "false reports (FPR)",
    "share of a video's absent instruments reported as present",
    more_is_better=False,
)


def video_values(predictions: Predictions) -> dict[VideoMetric, Numbers]:
    """Return each metric's values `[V]` in the order of the videos; NaN where undefined."""
    values: dict[VideoMetric, Numbers] = {}
    if predictions.phase_names:
        classes = len(predictions.phase_names)
        confusions = [_confusion(video, classes) for video in predictions.videos]
        counts = metrics.counts_of(np.array(confusions).reshape(-1, classes, classes))
        scored = counts.true.sum(axis=1) > 0
        values[ACCURACY] = metrics.accuracy(counts)
        f1 = metrics.class_scores(counts).macro("f1", labels="present")
        values[F1] = np.where(scored, f1, np.nan)
    if predictions.instrument_names:
        values[PRECISION] = np.array([_mean_precision(video) for video in predictions.videos])
        values[FALSE_REPORTS] = np.array([_false_reports(video) for video in predictions.videos])
    return values


def _confusion(video: VideoPrediction, classes: int) -> NDArray[np.int64]:
    assert video.true_phases is not None
    return metrics.confusion_matrix(video.true_phases, video.phases, classes)


def _mean_precision(video: VideoPrediction) -> float:
    assert video.true_instruments is not None
    precisions = metrics.average_precisions(video.true_instruments, video.instrument_scores)
    return float(metrics.mean_of_defined(precisions))


def _false_reports(video: VideoPrediction) -> float:
    assert video.true_instruments is not None
    reported = (video.instrument_probabilities > PRESENT).astype(np.int64)
    return float(metrics.micro_false_positive_rate(video.true_instruments, reported))
