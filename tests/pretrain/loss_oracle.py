# SPDX-License-Identifier: Apache-2.0
"""The method's formulas written out row by row in float64, apart from the code under test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def unit(rows: Matrix) -> Matrix:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def row_loss(
    scores: NDArray[np.float64], positives: Sequence[int], reduction: str, weights: Sequence[float]
) -> float:
    """One anchor against all candidates: `scores` are cosines over the temperature."""
    everything = math.log(sum(math.exp(score) for score in scores))
    if reduction == "logsum":
        own = math.log(
            sum(weight * math.exp(scores[p]) for p, weight in zip(positives, weights, strict=True))
        )
    else:
        own = sum(weight * scores[p] for p, weight in zip(positives, weights, strict=True)) / sum(weights)
    return everything - own


def one_way(a: Matrix, b: Matrix, tau: float, texts: Sequence[str], reduction: str, equal: bool) -> float:
    a, b = unit(a), unit(b)
    losses = []
    for i in range(len(a)):
        positives = [j for j in range(len(b)) if (texts[i] == texts[j] if equal else i == j)]
        losses.append(row_loss(a[i] @ b.T / tau, positives, reduction, [1.0] * len(positives)))
    return sum(losses) / len(losses)


def info_nce(
    a: Matrix, b: Matrix, tau: float, texts: Sequence[str], reduction: str = "logsum", equal: bool = True
) -> float:
    forth = one_way(a, b, tau, texts, reduction, equal)
    return (forth + one_way(b, a, tau, texts, reduction, equal)) / 2


def retrieval(
    anchors: Matrix,
    batch: Matrix,
    bank: Matrix,
    slots: Sequence[Sequence[int]],
    tau: float,
    texts: Sequence[str],
    silent_texts: Sequence[str],
    reduction: str,
    equal: bool,
    weight: float = 1.0,
) -> float:
    """l(A, C = [batch ; retrieved]): what a row retrieved, or shares its text with, is its positive."""
    anchors, batch, bank = unit(anchors), unit(batch), unit(bank)
    candidates = sorted({slot for found in slots for slot in found if slot >= 0})
    losses = []
    for i in range(len(anchors)):
        positives, weights = [], []
        for j in range(len(batch)):
            if i == j or (equal and texts[i] == texts[j]):
                positives.append(j)
                weights.append(1.0)
        for place, slot in enumerate(candidates):
            if slot in slots[i] or (equal and silent_texts[slot] == texts[i]):
                positives.append(len(batch) + place)
                weights.append(weight)
        scores = np.concatenate([anchors[i] @ batch.T, anchors[i] @ bank[candidates].T]) / tau
        losses.append(row_loss(scores, positives, reduction, weights))
    return sum(losses) / len(losses)
