# SPDX-License-Identifier: Apache-2.0
"""Probes on features made by hand: what they can learn they learn, and C is chosen on other videos."""

from __future__ import annotations

import numpy as np
import pytest

from ophclip.evaluate.probing import C_WITHOUT_CHOICE, Labelled, Probing
from ophclip.evaluate.rows import Rows

CENTRES = np.array([[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0]], dtype=np.float32)


def item(seed: int, *, noise: float = 0.3, unscored: bool = False) -> Labelled:
    """Return rows whose phase and instruments can be read from their features."""
    rng = np.random.default_rng(seed)
    phases = rng.integers(0, 3, 30)
    present = rng.integers(0, 2, (30, 1))
    features = CENTRES[phases] + noise * rng.normal(size=(30, 4)).astype(np.float32)
    features[:, 3:] += 5 * present
    labels = np.where(rng.random(30) < 0.3, -1, phases) if unscored else phases
    return Labelled(Rows(np.arange(30.0), labels, np.hstack([present, np.zeros_like(present)])), features)


ITEMS = {f"v{seed}": item(seed, unscored=seed == 1) for seed in range(6)}


@pytest.mark.parametrize("standardize", [True, False])
def test_what_the_features_hold_is_learnt(standardize: bool) -> None:
    probing = Probing(3, 2, (1.0, 10.0), standardize)
    found = probing.fit(ITEMS, ["v0", "v1"], ["v2"]).predict("v3", ITEMS["v3"])
    assert found.true_phases is not None
    assert found.true_instruments is not None
    assert (found.phases == found.true_phases).mean() > 0.95
    assert ((found.instrument_probabilities > 0.5) == found.true_instruments).mean() > 0.95
    assert (found.instrument_probabilities[:, 1] < 1e-6).all(), "it is never seen in training"
    np.testing.assert_allclose(found.phase_probabilities.sum(axis=1), 1, atol=1e-5)


def test_c_is_chosen_on_the_held_out_videos_and_the_smallest_of_equals() -> None:
    fitted = Probing(3, 0, (1.0, 1e-6, 1e-2)).fit(ITEMS, ["v0", "v1"], ["v2", "v4"])
    chosen = fitted.chosen["phases"]
    scores = chosen["val"]
    best = max(scores.values())
    assert chosen["C"] == min(float(c) for c, score in scores.items() if score == best)
    assert list(scores) == ["1e-06", "0.01", "1"]
    assert fitted.instruments is None


def test_without_videos_to_choose_on_c_is_fixed() -> None:
    fitted = Probing(3, 2, (1e-6, 1.0)).fit(ITEMS, ["v0"], [])
    assert fitted.chosen == {task: {"C": C_WITHOUT_CHOICE, "val": None} for task in ("phases", "instruments")}


def test_rows_that_are_not_scored_are_not_learnt_from() -> None:
    spoilt = item(1, unscored=True)
    assert spoilt.rows.phases is not None
    spoilt.features[spoilt.rows.phases == -1] = 1e3
    plain = Probing(3, 0, (1e-2,), standardize=False)
    one = plain.fit({**ITEMS, "v1": spoilt}, ["v1"], ["v2"]).predict("v3", ITEMS["v3"])
    other = plain.fit(ITEMS, ["v1"], ["v2"]).predict("v3", ITEMS["v3"])
    assert np.array_equal(one.phase_probabilities, other.phase_probabilities)
