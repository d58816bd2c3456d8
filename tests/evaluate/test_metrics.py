# SPDX-License-Identifier: Apache-2.0
"""The metrics against scikit-learn on drawn cases, and against numbers worked out by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from ophclip.evaluate import metrics

C = 5
labels = st.integers(0, C - 1)


@st.composite
def phases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    length = draw(st.integers(1, 40))
    truth = draw(arrays(np.int64, length, elements=labels))
    return truth, draw(arrays(np.int64, length, elements=labels))


@st.composite
def ranking(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    length = draw(st.integers(1, 40))
    truth = draw(arrays(np.int64, length, elements=st.integers(0, 1)))
    scores = draw(arrays(np.float64, length, elements=st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0])))
    return truth, scores  # few distinct scores, so that ties are common


def counted(truth: object, predicted: object, num_classes: int = C) -> metrics.ClassCounts:
    return metrics.counts_of(metrics.confusion_matrix(np.asarray(truth), np.asarray(predicted), num_classes))


@given(phases())
def test_phase_metrics_equal_scikit_learn(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = drawn
    confusion = metrics.confusion_matrix(truth, predicted, C)
    assert np.array_equal(confusion, sk.confusion_matrix(truth, predicted, labels=range(C)))
    assert metrics.accuracy(counted(*drawn)) == pytest.approx(sk.accuracy_score(truth, predicted))
    scores = metrics.class_scores(counted(*drawn))
    for name, oracle in [
        ("precision", sk.precision_score),
        ("recall", sk.recall_score),
        ("f1", sk.f1_score),
        ("jaccard", sk.jaccard_score),
    ]:
        present = oracle(truth, predicted, average="macro", zero_division=0)
        everything = oracle(truth, predicted, average="macro", labels=range(C), zero_division=0)
        assert scores.macro(name, labels="present") == pytest.approx(present)
        assert scores.macro(name, labels="all") == pytest.approx(everything)


@given(phases(), st.integers(1, 4))
def test_counts_by_video_are_those_of_each_video(drawn: tuple[np.ndarray, np.ndarray], videos: int) -> None:
    truth, predicted = drawn
    truth = np.where(truth == C - 1, -1, truth)
    video = np.arange(len(truth)) % videos
    found = metrics.counts_by_video(truth, predicted, video, C, videos)
    for v in range(videos):
        alone = counted(truth[video == v], predicted[video == v])
        for name in ("hits", "true", "predicted"):
            assert np.array_equal(getattr(found, name)[v], getattr(alone, name))


@given(ranking())
def test_average_precision_equals_scikit_learn(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    truth, scores = drawn
    found = metrics.average_precision(truth, scores)
    if truth.any():
        assert found == pytest.approx(sk.average_precision_score(truth, scores))
    else:
        assert np.isnan(found)


@given(ranking())
def test_false_positive_rate_at_recall_equals_the_roc_curve(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    truth, scores = drawn
    found = metrics.false_positive_rate_at_recall(truth, scores)
    if truth.all() or not truth.any():
        assert np.isnan(found)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fpr, tpr, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
    assert found == pytest.approx(fpr[np.argmax(tpr >= 0.95)])
    threshold = metrics.threshold_at_recall(truth, scores)
    assert (scores[truth == 1] >= threshold).mean() >= 0.95 > (scores[truth == 1] > threshold).mean()


@given(phases(), st.randoms())
def test_the_order_of_frames_changes_nothing(drawn: tuple[np.ndarray, np.ndarray], random: object) -> None:
    truth, predicted = drawn
    order = np.random.default_rng(len(truth)).permutation(len(truth))
    shuffled = metrics.confusion_matrix(truth[order], predicted[order], C)
    assert np.array_equal(shuffled, metrics.confusion_matrix(truth, predicted, C))


@given(phases())
def test_perfect_predictions_score_one(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    truth, _ = drawn
    assert metrics.accuracy(counted(truth, truth)) == 1
    assert metrics.class_scores(counted(truth, truth)).macro("f1", labels="present") == 1


def test_permuted_labels_score_at_chance() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, C, 20_000)
    found = metrics.accuracy(counted(truth, rng.permutation(truth)))
    assert found == pytest.approx(1 / C, abs=0.02)
    present = (truth == 0).astype(np.int64)
    precision = metrics.average_precision(present, rng.random(len(truth)))
    assert precision == pytest.approx(metrics.prevalence(present[:, None])[0], abs=0.02)


def test_per_video_and_pooled_f1_differ_as_worked_out_by_hand() -> None:
    # Video 1: classes 0 and 1, all right: F1 = 1. Video 2: truth 0 0 2, predicted 0 2 2: class 0 has
    # precision 1 and recall 1/2, class 2 precision 1/2 and recall 1: F1 = 2/3 each.
    videos = metrics.counts_by_video(
        np.array([0, 1, 0, 0, 2]), np.array([0, 1, 0, 2, 2]), np.array([0, 0, 1, 1, 1]), 3, 2
    )
    by_video = metrics.class_scores(videos).macro("f1", labels="present")
    assert by_video == pytest.approx([1, 2 / 3])
    # Pooled: class 0 F1 = 2*2/(3+2) = 4/5, class 1 = 1, class 2 = 2/3.
    pooled = metrics.class_scores(videos.weighted(np.ones((1, 2))))
    assert pooled.macro("f1", labels="present") == pytest.approx([(4 / 5 + 1 + 2 / 3) / 3])


def test_unscored_frames_are_left_out() -> None:
    confusion = metrics.confusion_matrix(np.array([-1, 0, -1]), np.array([1, 0, 0]), 2)
    assert confusion.tolist() == [[1, 0], [0, 0]]
    nothing = counted([-1], [0])
    assert np.isnan(metrics.accuracy(nothing))
    assert np.isnan(metrics.class_scores(nothing).macro("f1", labels="present"))


def test_false_positive_rates_by_hand() -> None:
    truth = np.array([[1, 0], [0, 0], [0, 0], [1, 0]])
    fired = np.array([[1, 1], [1, 0], [0, 0], [0, 0]])
    assert metrics.false_positive_rates(truth, fired).tolist() == [0.5, 0.25]
    assert metrics.micro_false_positive_rate(truth, fired) == pytest.approx(2 / 6)
    assert np.isnan(metrics.false_positive_rates(np.ones((2, 1)), np.ones((2, 1)))).all()
    assert np.isnan(metrics.micro_false_positive_rate(np.ones((2, 1)), np.ones((2, 1))))


def test_undefined_classes_do_not_count_in_the_mean() -> None:
    truth = np.array([[1, 0], [0, 0]])
    found = metrics.average_precisions(truth, np.array([[0.9, 0.1], [0.1, 0.9]]))
    assert found[0] == 1.0
    assert np.isnan(found[1])
    assert metrics.mean_of_defined(found) == 1.0
    assert np.isnan(metrics.mean_of_defined([np.nan]))


@pytest.mark.parametrize(
    ("truth", "predicted", "says"),
    [
        ([0, 5], [0, 0], "truth must lie in"),
        ([0, -2], [0, 0], "truth must lie in"),
        ([0, 0], [0, -1], "predicted must lie in"),
        ([0, 0], [0], r"must be \[T\]"),
    ],
)
def test_labels_that_do_not_fit_are_refused(truth: list[int], predicted: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        metrics.confusion_matrix(np.array(truth), np.array(predicted), C)
    with pytest.raises(ValueError, match=says):
        metrics.counts_by_video(np.array(truth), np.array(predicted), np.zeros(2, np.int64), C, 1)


def test_scores_that_are_not_finite_are_refused() -> None:
    for metric in (metrics.average_precision, metrics.false_positive_rate_at_recall):
        with pytest.raises(ValueError, match="finite"):
            metric(np.array([1, 0]), np.array([np.nan, 0.0]))
