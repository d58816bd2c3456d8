# SPDX-License-Identifier: Apache-2.0
"""Intervals by the bootstrap over videos: rows of one video are not independent, whole videos are.

A resample is a number of times that each video counts. Metrics that are sums over videos take these as
weights `[R, V]`, all resamples at once; row 0 counts each video once and gives the number itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]


def draw_videos(num_videos: int, resamples: int, *, seed: int) -> Numbers:
    """Return how often each video counts `[1 + resamples, V]`: once in row 0, then as drawn."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, max(num_videos, 1), (resamples, num_videos))
    places = drawn + np.arange(resamples)[:, None] * num_videos
    counts = np.bincount(places.ravel(), minlength=resamples * num_videos)
    return np.vstack([np.ones(num_videos), counts.reshape(resamples, num_videos)])


def interval(values: Numbers, *, level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile interval of a metric over resamples `[R]`; None where it is never defined."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_over_videos(values: Numbers, weights: Numbers) -> Numbers:
    """Return the mean of the defined values `[V]` for each row of weights `[R, V]`; NaN without any."""
    defined = ~np.isnan(values)
    total = weights[:, defined].sum(axis=1)
    mean: Numbers = np.full(len(weights), np.nan)
    np.divide(weights[:, defined] @ values[defined], total, out=mean, where=total > 0)
    return mean


def mean_of_defined(values: ArrayLike) -> Numbers:
    """Return the mean over the last axis of what is not NaN; NaN without any."""
    numbers = np.asarray(values, dtype=np.float64)
    defined = ~np.isnan(numbers)
    count = defined.sum(axis=-1)
    mean: Numbers = np.full(count.shape, np.nan)
    np.divide(np.where(defined, numbers, 0).sum(axis=-1), count, out=mean, where=count > 0)
    return mean
