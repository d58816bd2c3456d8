# SPDX-License-Identifier: Apache-2.0
"""A linear probe on stored features beside scikit-learn's logistic regression: every C, the best one kept."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ophclip.bench import Case, Contest
from ophclip.evaluate.probing import C_GRID, Labelled, Probing
from ophclip.evaluate.rows import Rows

PHASES = 12
NOISE = 3.0  # of a row, beside the centre of its phase: a probe gets some nine in ten right


def probe_case(section: str, num_videos: int, num_rows: int, dim: int) -> Case:
    """Half of the videos to learn from, an eighth to choose C on, the rest to score."""
    train, val = num_videos // 2, num_videos // 8
    name = f"linear probe on {train * num_rows} x {dim}, {PHASES} phases, {len(C_GRID)} values of C"
    return Case(name, section, lambda _: _contest(num_videos, num_rows, dim, train, val))


def _contest(num_videos: int, num_rows: int, dim: int, train: int, val: int) -> Contest:
    items = {f"v{number:03d}": _video(number, num_rows, dim) for number in range(num_videos)}
    ids = list(items)
    learnt, chosen_on, scored = ids[:train], ids[train : train + val], ids[train + val :]

    def ours() -> Tensor:
        fitted = Probing(PHASES, 0).fit(items, learnt, chosen_on)
        said = [fitted.predict(name, items[name]).phases for name in scored]
        return _accuracy(np.concatenate(said), _labels(items, scored))  # type: ignore[arg-type]

    def scikit_learn() -> Tensor:
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import f1_score
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(_features(items, learnt))
        rows, held, unseen = (
            scaler.transform(_features(items, part)) for part in (learnt, chosen_on, scored)
        )
        labels, truth = _labels(items, learnt), _labels(items, chosen_on)
        probes = [LogisticRegression(C=c, max_iter=1000).fit(rows, labels) for c in C_GRID]
        best = max(probes, key=lambda probe: f1_score(truth, probe.predict(held), average="macro"))
        return _accuracy(best.predict(unseen), _labels(items, scored))

    return Contest(ours=ours, peers={"scikit-learn": lambda: scikit_learn}, rounds=1, tolerance=0.01)


def _video(number: int, num_rows: int, dim: int) -> Labelled:
    centres = np.random.default_rng(0).standard_normal((PHASES, dim), np.float32)
    rng = np.random.default_rng(1 + number)
    phases = np.repeat(rng.integers(0, PHASES, num_rows // 50 + 1), 50)[:num_rows]
    habit = rng.standard_normal(dim, np.float32)  # rows of one video are alike
    rows = centres[phases] + NOISE * (habit + rng.standard_normal((num_rows, dim), np.float32))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Labelled(Rows(np.arange(num_rows, dtype=np.float64), phases, None), rows)


def _features(items: dict[str, Labelled], ids: list[str]) -> NDArray[np.float32]:
    return np.concatenate([items[name].features for name in ids])


def _labels(items: dict[str, Labelled], ids: list[str]) -> NDArray[np.int64]:
    return np.concatenate([items[name].rows.phases for name in ids])  # type: ignore[list-item]


def _accuracy(said: NDArray[np.int64], truth: NDArray[np.int64]) -> Tensor:
    return torch.tensor([float((said == truth).mean())])
