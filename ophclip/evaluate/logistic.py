# SPDX-License-Identifier: Apache-2.0
"""Logistic regression on fixed features: the linear probe, fitted by L-BFGS to the end.

One label a row: a softmax over the classes seen in training. Several: one two-class regression a class.
The objective is scikit-learn's, C times the sum of the losses plus half the squared weights; the intercepts
are not penalised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

MAX_STEPS = 200
TOLERANCE = 1e-4  # of the largest entry of the mean loss's gradient, as scikit-learn's
LEAST_GAIN = 1e-7  # of the mean loss, in one step
NEVER = -30.0  # the logit of a class that training never shows

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Scaling:
    """How features are made comparable: mean 0 and standard deviation 1 over the training rows."""

    mean: Features  # [D]
    deviation: Features  # [D]

    @classmethod
    def fit(cls, features: Features, *, standardize: bool) -> Scaling:
        """Take mean and deviation of `[N, D]`, or leave all as it is; a constant column is only moved."""
        dim = features.shape[1]
        if not standardize:
            return cls(np.zeros(dim, np.float32), np.ones(dim, np.float32))
        deviation = features.std(axis=0, dtype=np.float64).astype(np.float32)
        mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(mean, np.where(deviation > 1e-6, deviation, np.float32(1)))

    def __call__(self, features: Features) -> Features:
        scaled: Features = (features - self.mean) / self.deviation
        return scaled


@dataclass(frozen=True)
class Probe:
    """A fitted probe: logits are `features @ weights.T + intercepts`, `[T, C]`."""

    weights: Features  # [C, D]
    intercepts: Features  # [C]

    def logits(self, features: Features) -> Features:
        """Return the logit of each class for features `[T, D]`."""
        found: Features = features @ self.weights.T + self.intercepts
        return found


def fit_phases(
    features: Features, labels: NDArray[np.int64], num_classes: int, c: float, start: Probe | None = None
) -> Probe:
    """Fit a softmax over the classes that occur in `labels` `[N]`; the others are never predicted."""
    seen = np.unique(labels)
    target = torch.from_numpy(np.searchsorted(seen, labels))
    return _fitted(
        features,
        seen,
        num_classes,
        c,
        start,
        lambda logits: F.cross_entropy(logits, target, reduction="sum"),
    )


def fit_instruments(
    features: Features, present: NDArray[np.int64], c: float, start: Probe | None = None
) -> Probe:
    """Fit one regression a class to 0/1 `present` `[N, C]`; a class that never varies is never predicted."""
    seen = np.flatnonzero((present.min(axis=0, initial=1) == 0) & (present.max(axis=0, initial=0) == 1))
    target = torch.from_numpy(present[:, seen].astype(np.float32))
    return _fitted(
        features,
        seen,
        present.shape[1],
        c,
        start,
        lambda logits: F.binary_cross_entropy_with_logits(logits, target, reduction="sum"),
    )


def _fitted(
    features: Features,
    seen: NDArray[np.int64],
    num_classes: int,
    c: float,
    start: Probe | None,
    loss: Callable[[Tensor], Tensor],
) -> Probe:
    dim = features.shape[1]
    weights = np.zeros((num_classes, dim), np.float32) if start is None else start.weights.copy()
    intercepts = np.full(num_classes, NEVER, np.float32)
    if seen.size:
        first = np.zeros(seen.size, np.float32) if start is None else start.intercepts[seen]
        weights[seen], intercepts[seen] = _minimize(features, weights[seen], first, c, loss)
    return Probe(weights, intercepts)


def _minimize(
    features: Features, weights: Features, intercepts: Features, c: float, loss: Callable[[Tensor], Tensor]
) -> tuple[Features, Features]:
    rows = torch.from_numpy(features)
    w = torch.from_numpy(weights.copy()).requires_grad_()
    b = torch.from_numpy(intercepts.copy()).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [w, b],
        max_iter=MAX_STEPS,
        history_size=20,
        tolerance_grad=TOLERANCE,
        tolerance_change=LEAST_GAIN,
        line_search_fn="strong_wolfe",
    )
    scale = 1 / len(features)  # a mean, so that steps and tolerance do not depend on the number of rows

    def closure() -> float:
        optimizer.zero_grad()
        total = scale * (loss(rows @ w.T + b) + w.square().sum() / (2 * c))
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.detach())

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return w.detach().numpy(), b.detach().numpy()


def softmax(logits: Features) -> Features:
    """Return probabilities `[T, C]`."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities: Features = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def sigmoid(logits: Features) -> Features:
    """Return the probability of each logit."""
    found: Features = torch.sigmoid(torch.from_numpy(logits)).numpy()
    return found
