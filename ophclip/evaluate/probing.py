# SPDX-License-Identifier: Apache-2.0
"""Probes from cached features to predictions: fit on some videos, choose C on others, predict the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate import metrics
from ophclip.evaluate.logistic import Features, Probe, Scaling, fit_instruments, fit_phases, sigmoid, softmax
from ophclip.evaluate.predictions import UNSCORED, VideoPrediction
from ophclip.evaluate.rows import Rows

C_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
C_WITHOUT_CHOICE = 1e-2
CHOSEN_BY = {"phases": "f1.pooled.present", "instruments": "map.pooled.defined_classes"}


@dataclass(frozen=True)
class Labelled:
    """Labels and pooled features of one item, a row a thing that is scored."""

    rows: Rows
    features: Features  # [T, D]


@dataclass(frozen=True)
class Fitted:
    """The probes of both tasks (None where the dataset has no such task) and how they were chosen."""

    scaling: Scaling
    phases: Probe | None
    instruments: Probe | None
    chosen: dict[str, Any]  # task -> {"C", "val": {C: score}}

    def predict(self, video_id: str, item: Labelled) -> VideoPrediction:
        """Predict the rows of one item."""
        features = self.scaling(item.features)
        nothing = np.zeros((len(features), 0), dtype=np.float32)
        phases = nothing if self.phases is None else softmax(self.phases.logits(features))
        scores = nothing if self.instruments is None else self.instruments.logits(features)
        rows = item.rows
        return VideoPrediction(
            video_id, rows.times_s, rows.phases, rows.instruments, phases, scores, sigmoid(scores)
        )


@dataclass(frozen=True)
class Probing:
    """What a probe is asked for: numbers of classes, the grid of C, and whether features are standardised."""

    num_phases: int
    num_instruments: int
    grid: Sequence[float] = C_GRID
    standardize: bool = True

    def fit(self, items: Mapping[str, Labelled], train: Sequence[str], val: Sequence[str]) -> Fitted:
        """Fit on the videos `train`, for each C of the grid, and keep the one that is best on `val`."""
        learnt, held = [items[name] for name in train], [items[name] for name in val]
        scaling = Scaling.fit(_features(learnt), standardize=self.standardize)
        chosen: dict[str, Any] = {}
        phases = instruments = None
        if self.num_phases:
            phases, chosen["phases"] = self._phases(scaling, learnt, held)
        if self.num_instruments:
            instruments, chosen["instruments"] = self._instruments(scaling, learnt, held)
        return Fitted(scaling, phases, instruments, chosen)

    def _phases(
        self, scaling: Scaling, learnt: list[Labelled], held: list[Labelled]
    ) -> tuple[Probe, dict[str, Any]]:
        features, labels = _scored(scaling, learnt)
        held_features, truth = _scored(scaling, held)

        def score(probe: Probe) -> float:
            said = probe.logits(held_features).argmax(axis=1)
            counts = metrics.counts_of(metrics.confusion_matrix(truth, said, self.num_phases))
            return float(metrics.class_scores(counts).macro("f1", labels="present"))

        return self._best(lambda c, start: fit_phases(features, labels, self.num_phases, c, start), score)

    def _instruments(
        self, scaling: Scaling, learnt: list[Labelled], held: list[Labelled]
    ) -> tuple[Probe, dict[str, Any]]:
        features, present = scaling(_features(learnt)), self._present(learnt)
        held_features, truth = scaling(_features(held, len(scaling.mean))), self._present(held)

        def score(probe: Probe) -> float:
            return float(
                metrics.mean_of_defined(metrics.average_precisions(truth, probe.logits(held_features)))
            )

        return self._best(lambda c, start: fit_instruments(features, present, c, start), score)

    def _best(
        self, fit: Callable[[float, Probe | None], Probe], score: Callable[[Probe], float]
    ) -> tuple[Probe, dict[str, Any]]:
        """Fit along the grid, each from the last; of equals, the most regularised is kept."""
        best: tuple[float, float, Probe] | None = None
        probe, scores = None, {}
        for c in sorted(self.grid):
            probe = fit(c, probe)
            found = score(probe)
            if np.isnan(found):  # nothing to choose on
                return fit(C_WITHOUT_CHOICE, None), {"C": C_WITHOUT_CHOICE, "val": None}
            scores[f"{c:g}"] = found
            if best is None or found > best[1]:
                best = (c, found, probe)
        assert best is not None
        return best[2], {"C": best[0], "val": scores}

    def _present(self, items: list[Labelled]) -> NDArray[np.int64]:
        parts = [item.rows.instruments for item in items if item.rows.instruments is not None]
        return np.concatenate([np.zeros((0, self.num_instruments), dtype=np.int64), *parts])


def _features(items: list[Labelled], dim: int = 0) -> Features:
    """Return the features of all rows; `dim` is their length where there may be no item."""
    return np.concatenate([item.features for item in items] or [np.zeros((0, dim), dtype=np.float32)])


def _scored(scaling: Scaling, items: list[Labelled]) -> tuple[Features, NDArray[np.int64]]:
    """Return the features and labels of the rows that are scored."""
    parts = [item.rows.phases for item in items if item.rows.phases is not None]
    labels = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
    if not len(labels):
        return np.zeros((0, len(scaling.mean)), dtype=np.float32), labels
    kept = labels != UNSCORED
    return scaling(_features(items)[kept]), labels[kept]
