# SPDX-License-Identifier: Apache-2.0
"""Named numbers and their intervals from values over resamples of videos."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate import metrics
from ophclip.evaluate.predictions import Predictions

RESAMPLES, SEED = 1000, 0
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Draws:
    """How often each video counts `[1 + R, V]`; row 0 counts each once and gives the numbers themselves."""

    weights: Numbers

    @classmethod
    def of(cls, predictions: Predictions) -> Draws:
        """Draw as the facts of the predictions say."""
        told = predictions.facts.get("bootstrap", {})
        resamples, seed = told.get("resamples", RESAMPLES), told.get("seed", SEED)
        return cls(metrics.draw_videos(len(predictions.videos), resamples, seed=seed))

    def numbers(self, values: dict[str, Numbers]) -> dict[str, Any]:
        """Return each number under its name, None where undefined, and the intervals under `ci95`.

        An interval needs two videos; one that has none is None.
        """
        has_intervals = self.weights.shape[0] > 1 and self.weights.shape[1] > 1
        return {
            **{name: plain(drawn[0]) for name, drawn in values.items()},
            "ci95": {
                name: self._interval(drawn) if has_intervals else None for name, drawn in values.items()
            },
        }

    def _interval(self, drawn: Numbers) -> list[float] | None:
        # Of a number that is not defined there is nothing to be uncertain about.
        found = None if math.isnan(drawn[0]) else metrics.interval(drawn[1:])
        return None if found is None else list(found)


def plain(value: float) -> float | None:
    """Return a number as JSON has it: undefined is null."""
    return None if math.isnan(value) else float(value)
