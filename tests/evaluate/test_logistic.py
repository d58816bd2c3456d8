# SPDX-License-Identifier: Apache-2.0
"""The logistic regression against scikit-learn's, and what happens to classes that training never shows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ophclip.evaluate.logistic import Scaling, fit_instruments, fit_phases, sigmoid, softmax


def drawn(rows: int = 120, dim: int = 6, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, dim)).astype(np.float32)
    logits = features @ rng.normal(size=(dim, classes)) + rng.gumbel(size=(rows, classes))
    return features, logits.argmax(axis=1)


@pytest.mark.parametrize("c", [0.01, 1.0, 10.0])
def test_phases_equal_scikit_learn(c: float) -> None:
    features, labels = drawn()
    oracle = LogisticRegression(C=c, tol=1e-8, max_iter=2000).fit(features, labels)
    found = fit_phases(features, labels, 3, c)
    np.testing.assert_allclose(softmax(found.logits(features)), oracle.predict_proba(features), atol=2e-3)
    np.testing.assert_allclose(found.weights, oracle.coef_, atol=5e-3 * max(1, np.abs(oracle.coef_).max()))


@pytest.mark.parametrize("c", [0.01, 1.0])
def test_instruments_equal_one_regression_each(c: float) -> None:
    features, labels = drawn()
    present = np.stack([labels == 0, labels != 1], axis=1).astype(np.int64)
    found = sigmoid(fit_instruments(features, present, c).logits(features))
    for column in range(2):
        oracle = LogisticRegression(C=c, tol=1e-8, max_iter=2000).fit(features, present[:, column])
        np.testing.assert_allclose(found[:, column], oracle.predict_proba(features)[:, 1], atol=2e-3)


def test_a_start_elsewhere_leads_to_the_same_probe() -> None:
    features, labels = drawn()
    far = fit_phases(features, labels, 3, 1e-4)
    warm, cold = fit_phases(features, labels, 3, 1.0, far), fit_phases(features, labels, 3, 1.0)
    np.testing.assert_allclose(softmax(warm.logits(features)), softmax(cold.logits(features)), atol=2e-3)


def test_classes_that_training_never_shows_are_never_predicted() -> None:
    features, labels = drawn(classes=2)
    found = softmax(fit_phases(features, 2 * labels, 4, 1.0).logits(features))
    assert set(found.argmax(axis=1)) == {0, 2}
    assert (found[:, [1, 3]] < 1e-6).all()
    present = np.stack([labels, np.zeros_like(labels), np.ones_like(labels)], axis=1)
    presence = sigmoid(fit_instruments(features, present, 1.0).logits(features))
    assert (presence[:, 1:] < 1e-6).all()
    assert presence[:, 0].max() > 0.5
    alone = softmax(fit_phases(features, np.zeros(len(features), np.int64), 3, 1.0).logits(features))
    assert (alone.argmax(axis=1) == 0).all()


def test_nothing_to_learn_from_predicts_nothing() -> None:
    features = np.zeros((0, 4), dtype=np.float32)
    found = fit_instruments(features, np.zeros((0, 2), np.int64), 1.0)
    assert (sigmoid(found.logits(np.ones((3, 4), np.float32))) < 1e-6).all()


def test_scaling_gives_mean_zero_and_deviation_one_and_leaves_constants() -> None:
    features = np.random.default_rng(0).normal(3, 5, (200, 4)).astype(np.float32)
    features[:, 2] = 7
    scaled = Scaling.fit(features, standardize=True)(features)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 0, 1], atol=1e-5)
    assert np.array_equal(Scaling.fit(features, standardize=False)(features), features)
