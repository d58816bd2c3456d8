# SPDX-License-Identifier: Apache-2.0
"""Named numbers from predictions: cases worked out by hand, and what must hold of any."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_predictions import INSTRUMENTS, PHASES, made, predicted
from sklearn import metrics as sk

from ophclip.evaluate.instrument_scores import instrument_scores
from ophclip.evaluate.phase_scores import phase_scores
from ophclip.evaluate.predictions import VideoPrediction
from ophclip.evaluate.report_rules import RULES


def phases_of(*predictions: VideoPrediction) -> dict[str, Any]:
    return phase_scores(made(predictions))


def instruments_of(*predictions: VideoPrediction) -> dict[str, Any]:
    return instrument_scores(made(predictions))


def test_per_video_and_pooled_scores_differ_as_worked_out_by_hand() -> None:
    # Video a: all right. Video b: class 0 has precision 1 and recall 1/2, class 2 precision 1/2 and recall 1.
    found = phases_of(predicted("a", [0, 1], [0, 1]), predicted("b", [0, 0, 2], [0, 2, 2]))
    assert found["f1.per_video_mean.present"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["f1.pooled.present"] == pytest.approx((4 / 5 + 1 + 2 / 3) / 3)
    assert found["accuracy.per_video_mean"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["accuracy.pooled"] == pytest.approx(4 / 5)
    assert found["by_video"] == {"a": 1.0, "b": pytest.approx(2 / 3)}
    assert found["confusion"] == [[2, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_a_macro_mean_over_all_phases_counts_absent_ones_as_zero() -> None:
    found = phases_of(predicted("a", [0, 1], [0, 1]))
    assert found["f1.pooled.present"] == 1
    assert found["f1.pooled.all"] == pytest.approx(2 / 3)


def test_pooled_scores_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    drawn = [predicted(f"v{n}", *rng.integers(0, 3, (2, 40)).tolist()) for n in range(3)]
    truth = np.concatenate([prediction.true_phases for prediction in drawn])
    said = np.concatenate([prediction.phases for prediction in drawn])
    found = phases_of(*drawn)
    for name, oracle in (("f1", sk.f1_score), ("precision", sk.precision_score), ("recall", sk.recall_score)):
        assert found[f"{name}.pooled.present"] == pytest.approx(oracle(truth, said, average="macro"))
        one_by_one = [oracle(p.true_phases, p.phases, average="macro", zero_division=0) for p in drawn]
        assert found[f"{name}.per_video_mean.present"] == pytest.approx(np.mean(one_by_one))


def test_background_frames_are_not_scored_but_counted() -> None:
    video = predicted("a", [-1, 0, -1, 1], [2, 0, 2, 2])
    found = phases_of(video)
    assert found["accuracy.pooled"] == 0.5
    assert found["scored_frames"] == 2
    assert made([video]).num_unscored == 2


def test_a_video_without_a_scored_frame_does_not_count_in_the_mean() -> None:
    found = phases_of(predicted("a", [0], [0]), predicted("idle", [-1, -1], [0, 1]))
    assert found["accuracy.per_video_mean"] == 1
    assert found["by_video"] == {"a": 1.0, "idle": None}


def test_numbers_that_are_not_defined_are_none_and_not_zero() -> None:
    found = phases_of(predicted("idle", [-1, -1], [0, 1]))
    undefined = [name for name in RULES if name in found and found[name] is None]
    assert {"accuracy.pooled", "accuracy.per_video_mean", "accuracy.chance_majority"} <= set(undefined)
    assert "f1.pooled.present" in undefined
    assert "f1.per_video_mean.present" in undefined
    one = phases_of(predicted("a", [0, 0], [0, 2]))["by_class"]
    undefined = {"frames": 0, "precision": None, "recall": None, "f1": None, "jaccard": None}
    assert {name: one["rhexis"][name] for name in undefined} == undefined
    assert {name: one["phaco"][name] for name in undefined} == {
        **undefined,
        "precision": 0.0,
        "f1": 0.0,
        "jaccard": 0.0,
    }
    nothing = instruments_of(predicted("a", [0, 0], [0, 0]))
    assert nothing["map.pooled.defined_classes"] is None
    assert nothing["by_class"]["keratome"]["average_precision"] is None


def test_instrument_scores_as_worked_out_by_hand() -> None:
    found = instruments_of(
        predicted(
            "a",
            [0] * 4,
            [0] * 4,
            present=[[1, 0], [0, 0], [1, 0], [0, 0]],
            cosines=[[0.9, -0.1], [0.8, 0.1], [0.7, -0.2], [-0.5, 0.3]],
        )
    )
    # Keratome is ranked right, wrong, right: AP = (1/1 + 2/3) / 2; forceps never occur.
    assert found["map.pooled.defined_classes"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["map.chance_prevalence"] == pytest.approx(0.5)
    # Reported although absent: keratome 1 of 2 frames, forceps 2 of 4.
    assert found["fpr.micro.prompt_softmax"] == pytest.approx(3 / 6)
    assert found["fpr.macro.prompt_softmax"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert found["fpr.micro.cosine_sigmoid"] == pytest.approx(3 / 6)
    # 95 % of the keratome's two frames are both: the threshold is 0.7, and one absent frame lies above it.
    assert found["fpr.macro.at_95_recall"] == pytest.approx(1 / 2)


def test_the_cosine_rule_ignores_the_probability() -> None:
    video = predicted("a", [0, 0], [0, 0], present=[[0, 1], [0, 1]], cosines=[[0.2, 0.2], [0.1, 0.1]])
    video.instrument_probabilities[:] = 0
    found = instruments_of(video)
    assert found["fpr.micro.prompt_softmax"] == 0
    assert found["fpr.micro.cosine_sigmoid"] == 1


def test_perfect_predictions_score_one() -> None:
    truth, present = [0, 1, 2, 1], [[1, 0], [0, 1], [1, 1], [0, 0]]
    cosines = np.array(present) - 0.5
    video = predicted("a", truth, truth, present=present, cosines=cosines.tolist())
    phases, instruments = phases_of(video), instruments_of(video)
    chance = {"accuracy.chance_uniform", "accuracy.chance_majority"}
    assert {phases[name] for name in RULES if name in phases and name not in chance} == {1.0}
    assert instruments["map.pooled.defined_classes"] == 1
    assert {value for name, value in instruments.items() if name.startswith("fpr.")} == {0.0}
    assert {row["average_precision"] for row in instruments["by_class"].values()} == {1.0}


def test_the_order_of_videos_changes_no_number() -> None:
    rng = np.random.default_rng(1)
    drawn = [
        predicted(
            f"v{n}",
            *rng.integers(0, 3, (2, 20)).tolist(),
            present=rng.integers(0, 2, (20, 2)).tolist(),
            cosines=rng.normal(size=(20, 2)).tolist(),
        )
        for n in range(4)
    ]
    for scores in (phases_of, instruments_of):
        first, second = scores(*drawn), scores(*drawn[::-1])
        assert json.dumps(first) == json.dumps(second)


def test_permuted_labels_score_at_chance() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 20_000)
    present = rng.integers(0, 2, (20_000, 2))
    video = predicted(
        "a",
        truth.tolist(),
        rng.permutation(truth).tolist(),
        present=present.tolist(),
        cosines=rng.normal(size=present.shape).tolist(),
    )
    phases, instruments = phases_of(video), instruments_of(video)
    assert phases["accuracy.pooled"] == pytest.approx(phases["accuracy.chance_uniform"], abs=0.02)
    assert instruments["map.pooled.defined_classes"] == pytest.approx(
        instruments["map.chance_prevalence"], abs=0.02
    )
    assert instruments["fpr.micro.prompt_softmax"] == pytest.approx(0.5, abs=0.02)


def test_every_averaged_number_has_a_rule_in_words() -> None:
    video = predicted("a", [0, 1], [0, 1], present=[[1, 0], [0, 0]])
    numbers = {**phases_of(video), **instruments_of(video)}
    scores = {name for name, value in numbers.items() if isinstance(value, float) or value is None}
    assert scores == set(RULES) - {"fpr.micro.probe_sigmoid", "fpr.macro.probe_sigmoid"}
    assert all("." in name for name in scores)


def test_class_names_stand_in_the_order_of_the_dataset() -> None:
    video = predicted("a", [0], [0])
    assert list(phases_of(video)["by_class"]) == PHASES
    assert list(instruments_of(video)["by_class"]) == INSTRUMENTS


def several(seed: int = 3) -> list[VideoPrediction]:
    rng = np.random.default_rng(seed)
    return [
        predicted(
            f"v{n}",
            *rng.integers(0, 3, (2, 15)).tolist(),
            present=rng.integers(0, 2, (15, 2)).tolist(),
            cosines=rng.normal(size=(15, 2)).tolist(),
        )
        for n in range(6)
    ]


def test_every_number_of_the_tables_has_an_interval_around_it() -> None:
    for scores in (phases_of(*several()), instruments_of(*several())):
        rows = [scores, *scores["by_class"].values()]
        for row in rows:
            numbers = [name for name, value in row.items() if isinstance(value, float)]
            assert set(numbers) - {"threshold_at_95_recall"} == set(row["ci95"])
            for name, (low, high) in row["ci95"].items():
                assert low <= row[name] <= high, name
        assert any(low < high for low, high in scores["ci95"].values())


def test_intervals_are_seeded_and_their_number_is_a_fact() -> None:
    videos = several()
    one, again = phases_of(*videos), phases_of(*videos)
    assert json.dumps(one) == json.dumps(again)
    whole = made(videos)
    seeded = replace(whole, facts={**whole.facts, "bootstrap": {"resamples": 1000, "seed": 1}})
    assert phase_scores(seeded)["ci95"] != one["ci95"]
    none = replace(whole, facts={**whole.facts, "bootstrap": {"resamples": 0, "seed": 0}})
    assert set(phase_scores(none)["ci95"].values()) == {None}
    assert phase_scores(none)["accuracy.pooled"] == one["accuracy.pooled"]


def test_one_video_has_no_interval() -> None:
    assert set(phases_of(several()[0])["ci95"].values()) == {None}


def test_equal_videos_have_an_interval_of_no_width() -> None:
    video = several()[0]
    same = [replace(video, video_id=f"v{n}") for n in range(5)]
    found = phases_of(*same)
    for name, (low, high) in found["ci95"].items():
        assert low == pytest.approx(found[name])
        assert high == pytest.approx(found[name])


def test_clips_and_pictures_have_no_order_and_so_no_stretches() -> None:
    whole = made(several())
    for unit in ("clip", "picture"):
        found = phase_scores(replace(whole, facts={**whole.facts, "unit": unit}))
        assert "accuracy.pooled" in found
        assert not [name for name in found if name.startswith(("edit", "segmental"))]


def test_a_probe_has_its_own_rule_of_presence() -> None:
    whole = made(several())
    found = instrument_scores(replace(whole, facts={**whole.facts, "instrument_rule": "probe_sigmoid"}))
    assert "fpr.micro.probe_sigmoid" in found
    assert "fpr.micro.cosine_sigmoid" not in found
    assert found["fpr_rule"] == "probability of the one-vs-rest probe > 0.5"


def test_segmental_scores_as_worked_out_by_hand() -> None:
    found = phases_of(
        predicted("a", [0, 0, 1, 1], [0, 0, 1, 1]), predicted("b", [0, 0, 0, 0, 1, 1], [0, 0, 2, 0, 1, 1])
    )
    # Video b: stretches 0 1 against 0 2 0 1: the first 0 covers 2 of 4 rows, the second 1 of 4.
    assert found["edit.per_video_mean"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["segmental_f1_at_50.per_video_mean"] == pytest.approx((1 + 2 * 2 / (2 + 4)) / 2)
    assert found["segmental_f1_at_50.pooled"] == pytest.approx(2 * 4 / (4 + 6))
