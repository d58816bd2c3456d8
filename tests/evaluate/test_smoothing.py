# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_predictions import made, predicted

from ophclip.evaluate.results import numbers_of
from ophclip.evaluate.smoothing import smoothed

TRUTH = [0] * 6 + [1] * 6
SAID = [0, 0, 2, 0, 0, 0, 1, 1, 1, 2, 1, 1]


def test_a_row_is_the_mean_of_those_around_it_and_of_fewer_at_the_ends() -> None:
    video = predicted("a", TRUTH, SAID, cosines=np.arange(24).reshape(12, 2).tolist())
    found = smoothed(made([video]), 3.0).videos[0]
    assert found.instrument_scores[:, 0].tolist() == [1, *range(2, 22, 2), 21]
    assert found.phase_probabilities[1].tolist() == pytest.approx([2 / 3, 0, 1 / 3])
    assert found.phase_probabilities[0].tolist() == [1, 0, 0]
    assert found.phases.tolist() == TRUTH
    assert np.array_equal(video.phases, SAID), "the plain prediction stays"


def test_less_than_two_rows_change_nothing() -> None:
    video = predicted("a", TRUTH, SAID)
    assert smoothed(made([video]), 1.0).videos[0].phases.tolist() == SAID


def test_smoothed_scores_stand_beside_the_plain_ones() -> None:
    plain = made([predicted("a", TRUTH, SAID), predicted("b", TRUTH, SAID)])
    numbers = numbers_of(replace(plain, facts={**plain.facts, "smooth_s": 3.0}))
    assert numbers["phase"] == numbers_of(plain)["phase"]
    assert numbers["smoothed"]["seconds"] == 3.0
    assert numbers["smoothed"]["phase"]["accuracy.pooled"] == 1
    assert numbers["phase"]["accuracy.pooled"] == pytest.approx(10 / 12, abs=1e-6)
    assert "smoothed" not in numbers_of(plain)
