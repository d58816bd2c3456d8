# SPDX-License-Identifier: Apache-2.0
"""Predictions averaged over time: what a temporal filter alone makes of the same frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate.predictions import Predictions


def smoothed(predictions: Predictions, smooth_s: float) -> Predictions:
    """Average probabilities and scores over `smooth_s` seconds around each row, fewer at the ends.

    The number of rows is made odd, so that a row stands in the middle of those that it is averaged with.
    """
    reach = round(smooth_s * predictions.facts["fps"]) // 2
    videos = [
        replace(
            video,
            phase_probabilities=_mean_around(video.phase_probabilities, reach),
            instrument_scores=_mean_around(video.instrument_scores, reach),
            instrument_probabilities=_mean_around(video.instrument_probabilities, reach),
        )
        for video in predictions.videos
    ]
    return replace(predictions, videos=videos)


def _mean_around(values: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Return the mean of rows t - reach to t + reach of `[T, K]`."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0, dtype=np.float64)])
    place = np.arange(len(values))
    begin, end = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    means: NDArray[np.float32] = ((sums[end] - sums[begin]) / (end - begin)[:, None]).astype(np.float32)
    return means
