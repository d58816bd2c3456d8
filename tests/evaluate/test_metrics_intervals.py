# SPDX-License-Identifier: Apache-2.0
"""Intervals over resampled videos: each resample equals scoring the drawn videos one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ophclip.evaluate import metrics
from ophclip.evaluate.metrics import resampled


@st.composite
def ranked_videos(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return truth, scores (with ties) and video of rows, and the number of videos."""
    seed, videos = draw(st.integers(0, 10_000)), draw(st.integers(1, 5))
    rng = np.random.default_rng(seed)
    rows = draw(st.integers(0, 60))
    levels = draw(st.sampled_from([3, 10, 1000]))
    scores = rng.integers(0, levels, rows) / levels - 0.5
    return rng.integers(0, 2, rows), scores, rng.integers(0, videos, rows), videos


@given(ranked_videos())
def test_a_resample_equals_ranking_the_drawn_videos(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray, int],
) -> None:
    truth, scores, video, videos = drawn
    weights = metrics.draw_videos(videos, 4, seed=1)
    found = metrics.resampled_ranking(truth, scores, video, weights)
    for row, counts in enumerate(weights.astype(int)):
        times = counts[video]
        again, ranked = np.repeat(truth, times), np.repeat(scores, times)
        for name, metric in (
            ("average_precision", metrics.average_precision),
            ("fpr_at_recall", metrics.false_positive_rate_at_recall),
        ):
            expected = metric(again, ranked) if len(again) else np.nan
            assert getattr(found, name)[row] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_blocks_of_thresholds_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth, scores, video = rng.integers(0, 2, 500), rng.normal(size=500), rng.integers(0, 7, 500)
    weights = metrics.draw_videos(7, 20, seed=0)
    whole = metrics.resampled_ranking(truth, scores, video, weights)
    monkeypatch.setattr(resampled, "BLOCK", 13)
    parted = metrics.resampled_ranking(truth, scores, video, weights)
    np.testing.assert_allclose(parted.average_precision, whole.average_precision, atol=1e-6)
    np.testing.assert_array_equal(parted.fpr_at_recall, whole.fpr_at_recall)


def test_counts_too_large_for_float32_are_still_right(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, scores, video = np.array([1, 0, 1]), np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1])
    weights = np.array([[2.0**25 + 1, 1.0]])
    many = 2**25 + 1
    expected = (many * 1 + (many + 1) / (2 * many + 1)) / (many + 1)
    found = metrics.resampled_ranking(truth, scores, video, weights)
    assert found.average_precision[0] == pytest.approx(expected, abs=1e-12)


def test_draws_are_seeded_and_keep_the_number_of_videos() -> None:
    weights = metrics.draw_videos(9, 50, seed=4)
    assert weights.shape == (51, 9)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 9).all()
    assert np.array_equal(weights, metrics.draw_videos(9, 50, seed=4))
    assert not np.array_equal(weights, metrics.draw_videos(9, 50, seed=5))
    assert metrics.draw_videos(0, 3, seed=0).shape == (4, 0)


def test_a_video_is_drawn_as_often_as_binomial_draws_say() -> None:
    drawn = metrics.draw_videos(20, 5000, seed=0)[1:, 0]
    assert drawn.mean() == pytest.approx(1, abs=0.05)
    assert drawn.var() == pytest.approx(19 / 20, abs=0.08)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        values = rng.normal(size=40)
        weights = metrics.draw_videos(40, 300, seed=trial)
        low, high = metrics.interval(metrics.mean_over_videos(values, weights)[1:]) or (0.0, 0.0)
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_an_interval_is_of_the_defined_resamples() -> None:
    assert metrics.interval(np.array([np.nan, np.nan])) is None
    assert metrics.interval(np.array([np.nan, 0.5, 0.5])) == (0.5, 0.5)
    assert metrics.interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))


def test_a_mean_over_videos_leaves_out_those_without_a_value() -> None:
    weights = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    found = metrics.mean_over_videos(np.array([np.nan, 0.2, 0.5]), weights)
    assert found[:2] == pytest.approx([0.35, (2 * 0.2 + 0.5) / 3])
    assert np.isnan(found[2])
