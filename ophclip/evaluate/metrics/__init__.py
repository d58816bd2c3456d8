# SPDX-License-Identifier: Apache-2.0
"""Metrics of phase recognition and multi-instrument recognition, in NumPy alone.

Phases are class indices; -1 marks a row that is not scored, in the truth only. Instruments are 0/1 matrices
`[T, C]`. A metric that is undefined (no positives, no negatives, nothing scored) is NaN, never 0.
"""

from ophclip.evaluate.metrics.classes import (
    ClassCounts,
    ClassScores,
    accuracy,
    class_scores,
    confusion_matrix,
    counts_by_video,
    counts_of,
)
from ophclip.evaluate.metrics.intervals import draw_videos, interval, mean_of_defined, mean_over_videos
from ophclip.evaluate.metrics.ranking import (
    average_precision,
    average_precisions,
    false_positive_rate_at_recall,
    false_positive_rates,
    micro_false_positive_rate,
    prevalence,
    threshold_at_recall,
)
from ophclip.evaluate.metrics.resampled import Ranked, resampled_ranking
from ophclip.evaluate.metrics.segments import edit_score, matched_segments, segments

__all__ = [
    "ClassCounts",
    "ClassScores",
    "Ranked",
    "accuracy",
    "average_precision",
    "average_precisions",
    "class_scores",
    "confusion_matrix",
    "counts_by_video",
    "counts_of",
    "draw_videos",
    "edit_score",
    "false_positive_rate_at_recall",
    "false_positive_rates",
    "interval",
    "matched_segments",
    "mean_of_defined",
    "mean_over_videos",
    "micro_false_positive_rate",
    "prevalence",
    "resampled_ranking",
    "segments",
    "threshold_at_recall",
]
