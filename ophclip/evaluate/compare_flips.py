# SPDX-License-Identifier: Apache-2.0
"""A paired test over videos: do two runs differ by more than the choice of videos explains?

If neither run were better, each video's difference could as well have had the other sign. The p-value is the
share of all such sign flips whose mean difference is at least as large as the one seen: all of them for few
videos, else a seeded sample. Nothing is assumed of how the differences are distributed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate.metrics import draw_videos, interval, mean_over_videos

EXACT_VIDEOS = 16  # up to 65,536 flips are all tried
FLIPS, RESAMPLES, BLOCK = 100_000, 10_000, 10_000
FEW_VIDEOS = 6  # with fewer, no p-value below 0.05 exists
TOLERANCE = 1e-12  # of the mean: sums that differ by rounding alone count as equal

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class PairedTest:
    """What a paired comparison over videos found; the difference is the second run's mean less the first's.

    `left_out` counts videos in which a run has no value. Undefined numbers are None.
    """

    videos: int
    left_out: int
    difference: float | None
    ci95: tuple[float, float] | None
    p: float | None
    smallest_p: float | None  # that so many videos can reach
    method: str


def paired_test(first: Numbers, second: Numbers, *, seed: int = 0) -> PairedTest:
    """Compare the values `[V]` of the same videos under two runs; NaN where undefined.

    Raises:
        ValueError: the shapes differ.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"first and second must be [V], got {first.shape} and {second.shape}")
    differences = (second - first)[~np.isnan(second - first)]
    videos, left_out = len(differences), len(first) - len(differences)
    if not videos:
        return PairedTest(0, left_out, None, None, None, None, "none: no video has a value in both")
    exact = videos <= EXACT_VIDEOS
    return PairedTest(
        videos=videos,
        left_out=left_out,
        difference=float(differences.mean()),
        ci95=_bootstrap(differences, seed),
        p=_exact(differences) if exact else _sampled(differences, seed),
        smallest_p=min(1.0, 2.0 ** (1 - videos)) if exact else 1 / (FLIPS + 1),
        method=f"sign flips, {f'all {2**videos:,}' if exact else f'{FLIPS:,} drawn with seed {seed}'}",
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for testing several pairs at once (Holm 1979); None stays None."""
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[index] = largest
    return corrected


def _exact(differences: Numbers) -> float:
    flips = np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences)) & 1
    return float(_as_large(flips, differences).mean())


def _sampled(differences: Numbers, seed: int) -> float:
    rng = np.random.default_rng(seed)
    found = sum(
        int(_as_large(rng.integers(0, 2, (BLOCK, len(differences))), differences).sum())
        for _ in range(FLIPS // BLOCK)
    )
    return (found + 1) / (FLIPS + 1)  # the flips that were seen are one of them


def _as_large(flips: NDArray[np.int64], differences: Numbers) -> NDArray[np.bool_]:
    means = np.abs((1 - 2 * flips) @ differences) / len(differences)
    large: NDArray[np.bool_] = means >= abs(differences.mean()) - TOLERANCE
    return large


def _bootstrap(differences: Numbers, seed: int) -> tuple[float, float] | None:
    if len(differences) < 2:
        return None
    weights = draw_videos(len(differences), RESAMPLES, seed=seed)[1:]
    return interval(mean_over_videos(differences, weights))
