# SPDX-License-Identifier: Apache-2.0
"""Results side by side: the test against SciPy and by hand, and what may be compared at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from html_page import Page, assert_loads_nothing
from hypothesis import given
from hypothesis import strategies as st
from made_predictions import made, predicted
from scipy import stats

from ophclip.errors import DamageError, UsageError
from ophclip.evaluate import compare_flips
from ophclip.evaluate.compare import compare
from ophclip.evaluate.compare_flips import holm, paired_test
from ophclip.evaluate.compare_page import render_comparison
from ophclip.evaluate.compare_videos import video_values
from ophclip.evaluate.predictions import Predictions, VideoPrediction
from ophclip.evaluate.results import write_results
from ophclip.evaluate.series import write_series

values = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9)


def videos_of(right: float, *, videos: int = 7, seed: int = 0, rows: int = 20) -> Predictions:
    """Return predictions of which about a share `right` is right; the truth does not depend on it."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(videos):
        truth = np.random.default_rng(number).integers(0, 3, rows)
        said = np.where(rng.random(rows) < right, truth, (truth + 1) % 3)
        present = np.random.default_rng(number + 99).integers(0, 2, (rows, 2))
        cosines = present - 0.5 + rng.normal(size=(rows, 2)) / max(right, 0.01)
        parts.append(
            predicted(
                f"v{number}",
                truth.tolist(),
                said.tolist(),
                present=present.tolist(),
                cosines=cosines.tolist(),
            )
        )
    return with_facts(made(parts), bootstrap={"resamples": 50, "seed": 0})


def with_facts(predictions: Predictions, **facts: object) -> Predictions:
    return replace(predictions, facts={**predictions.facts, **facts})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, of which the last is the best; two of them on a second dataset of four videos."""
    root = tmp_path_factory.mktemp("results")
    for seed, (run, right) in enumerate((("low", 0.2), ("middle", 0.5), ("high", 0.9))):
        write_results(root / run / "evaluate-made", videos_of(right, seed=seed))
    for seed, run in enumerate(("low", "high")):
        other = with_facts(videos_of(0.5, videos=4, seed=seed), dataset="other", data_sha256="e" * 64)
        write_results(root / run / "evaluate-other", other)
    return root


@pytest.fixture
def stored(written: Path, tmp_path: Path) -> list[str]:
    """The folders of the results, which a test may spoil."""
    root = shutil.copytree(written, tmp_path / "results")
    made_of = [root / run / "evaluate-made" for run in ("low", "middle", "high")]
    return [str(folder) for folder in (*made_of, *(root / run / "evaluate-other" for run in ("low", "high")))]


@given(values)
def test_the_exact_test_equals_scipys(pairs: Sequence[tuple[float, float]]) -> None:
    first, second = np.array(pairs).T
    difference = second - first
    if len(pairs) > 1:
        oracle = stats.permutation_test(
            (difference,),
            lambda d, axis: d.mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf,
            alternative="two-sided",
        )
        assert paired_test(first, second).p == pytest.approx(min(1.0, oracle.pvalue))
    assert paired_test(first, second).difference == pytest.approx(difference.mean())


def test_the_test_by_hand() -> None:
    # Of 2^3 sign flips of (1, 2, 3)/10, only all plus and all minus reach a mean of 2/10.
    found = paired_test(np.zeros(3), np.array([0.1, 0.2, 0.3]))
    assert (found.p, found.smallest_p, found.videos) == (2 / 8, 2 / 8, 3)
    # (1, 2, -3)/10 sums to nothing: every flip is as large.
    assert paired_test(np.zeros(3), np.array([0.1, 0.2, -0.3])).p == 1


@given(values)
def test_the_other_way_round_is_the_same_with_the_other_sign(pairs: Sequence[tuple[float, float]]) -> None:
    first, second = np.array(pairs).T
    one, other = paired_test(first, second), paired_test(second, first)
    assert one.p == other.p
    assert one.difference == -(other.difference or 0.0)
    if one.ci95 and other.ci95:
        assert one.ci95 == pytest.approx((-other.ci95[1], -other.ci95[0]))


def test_equal_runs_do_not_differ() -> None:
    scores = np.random.default_rng(0).random(30)
    found = paired_test(scores, scores)
    assert (found.difference, found.p, found.ci95) == (0, 1, (0, 0))


def test_with_many_videos_flips_are_drawn_and_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random((2, 12))
    exact = paired_test(first, second + 0.1)
    monkeypatch.setattr(compare_flips, "EXACT_VIDEOS", 5)
    drawn = paired_test(first, second + 0.1)
    assert drawn.p == pytest.approx(exact.p, abs=0.01)
    assert drawn == paired_test(first, second + 0.1)
    assert drawn != paired_test(first, second + 0.1, seed=1)
    assert "100,000 drawn with seed 0" in drawn.method
    assert "all 4,096" in exact.method


def test_true_differences_of_nothing_are_rarely_called_significant() -> None:
    rng = np.random.default_rng(0)
    found = [paired_test(*rng.random((2, 8))).p or 0.0 for _ in range(200)]
    assert np.mean(np.array(found) <= 0.05) < 0.1
    assert 0.4 < np.mean(found) < 0.6


def test_videos_without_a_value_are_left_out_and_counted() -> None:
    found = paired_test(np.array([0.1, np.nan, 0.3]), np.array([0.2, 0.5, np.nan]))
    assert (found.videos, found.left_out, found.ci95) == (1, 2, None)
    assert found.difference == pytest.approx(0.1)
    nothing = paired_test(np.array([np.nan]), np.array([1.0]))
    assert (nothing.videos, nothing.p, nothing.difference) == (0, None, None)


def test_values_of_other_videos_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        paired_test(np.zeros(3), np.zeros(4))


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, None, 0.03]) == [0.03, 0.06, None, 0.06]
    assert holm([0.6, 0.9]) == [1, 1]


def test_values_of_a_video_by_hand() -> None:
    video = predicted(
        "a",
        [0, 0, -1, 2],
        [0, 2, 1, 2],
        present=[[1, 0]] * 2 + [[0, 0]] * 2,
        cosines=[[1, 1], [-1, -1], [0.5, -1], [-2, -2]],
    )
    found = {metric.name: values.tolist() for metric, values in video_values(made([video])).items()}
    assert found["accuracy.by_video"] == [pytest.approx(2 / 3)]
    assert found["f1.by_video.present"] == [pytest.approx(2 / 3)]
    assert found["map.by_video.defined_classes"] == [pytest.approx((1 + 2 / 3) / 2)]  # the other never occurs
    assert found["fpr.by_video.micro"] == [pytest.approx(2 / 6)]


def test_runs_are_rows_and_datasets_are_columns(stored: list[str]) -> None:
    found = compare(stored)
    assert found.runs == ["low", "middle", "high"]
    names = [(column.dataset, column.headline.label) for column in found.columns]
    assert names == [
        (dataset, label)
        for dataset in ("made", "other")
        for label in ("phase accuracy", "phase F1", "instrument mAP", "FPR (prompts)")
    ]
    numbers = json.loads((Path(stored[0]) / "metrics.json").read_text())
    cell = found.table[0][0]
    assert cell is not None
    assert cell.value == numbers["phase"]["accuracy.per_video_mean"]
    assert list(cell.ci95 or ()) == numbers["phase"]["ci95"]["accuracy.per_video_mean"]
    assert found.table[1][4:] == [None] * 4
    best = [row[0] is not None and row[0].best for row in found.table]
    assert best == [False, False, True]


def test_each_pair_on_a_dataset_is_tested(stored: list[str]) -> None:
    found = compare(stored)
    pairs = [(pair.first, pair.second) for pair in found.pairs if pair.metric.name == "accuracy.by_video"]
    assert pairs == [("low", "middle"), ("low", "high"), ("middle", "high"), ("low", "high")]
    test = found.pairs[1].test
    assert test.difference is not None
    assert test.difference > 0.5
    assert test.p == test.smallest_p == 2 / 2**7
    assert found.pairs[1].p_holm == 3 * 2 / 2**7
    assert found.pairs[-4].p_holm == found.pairs[-4].test.p


def test_few_videos_come_with_a_warning(stored: list[str]) -> None:
    notes = compare(stored).notes
    assert any(
        "other: with 4 videos no small p-value can be reached; the least possible is 0.125" in n
        for n in notes
    )
    assert not any(note.startswith("made: with") for note in notes)


def test_a_table_that_contradicts_the_mean_over_videos_is_pointed_out(tmp_path: Path) -> None:
    # Pooled, the long video decides; in the mean over videos, the three short ones do.
    def videos(short: float, long: float) -> Predictions:
        def video(name: str, rows: int, fires: float) -> VideoPrediction:
            cosines = np.full((rows, 2), -1.0)
            cosines[: int(fires * rows)] = 1.0
            return predicted(name, [0] * rows, [0] * rows, cosines=cosines.tolist())

        return made([video("long", 100, long), *(video(f"s{n}", 10, short) for n in range(3))])

    write_results(tmp_path / "a", videos(short=0.1, long=0.9))
    write_results(tmp_path / "b", videos(short=0.5, long=0.1))
    notes = compare([str(tmp_path / "a"), str(tmp_path / "b")]).notes
    assert [note for note in notes if "says the opposite" in note] == [
        "made, false reports (FPR), b - a: the table's number, by its own averaging rule, says the opposite "
        "of the mean over videos"
    ]


def test_zero_shot_and_a_probe_are_noted_to_differ_in_protocol_and_rule(
    stored: list[str], tmp_path: Path
) -> None:
    probe = with_facts(videos_of(0.5), protocol="few-shot/frame/1", instrument_rule="probe_sigmoid")
    write_results(tmp_path / "probe", probe)
    found = compare([stored[0], str(tmp_path / "probe")])
    assert "the protocols differ: few-shot/frame/1, zero-shot/frame/1" in found.notes
    assert found.notes[-1].endswith("differ: fpr.micro.prompt_softmax, fpr.micro.probe_sigmoid")


def test_a_comparison_of_the_same_folders_is_always_the_same(stored: list[str]) -> None:
    first, again = (json.dumps(compare(stored).as_dict(), allow_nan=False) for _ in range(2))
    assert first == again


def test_the_same_dataset_with_other_data_is_refused(stored: list[str], tmp_path: Path) -> None:
    write_results(tmp_path / "odd", with_facts(videos_of(0.5), data_sha256="f" * 64))
    with pytest.raises(UsageError, match="not comparable: both are of made") as caught:
        compare([*stored, str(tmp_path / "odd")])
    assert "same download" in caught.value.remedy


def test_predictions_of_another_evaluation_are_refused(stored: list[str], tmp_path: Path) -> None:
    other = with_facts(videos_of(0.5), weights="other")
    write_results(tmp_path / "other", other)
    (tmp_path / "other" / "predictions.npz").replace(Path(stored[0]) / "predictions.npz")
    with pytest.raises(DamageError, match="different evaluations"):
        compare(stored)


def test_names_can_be_given_and_make_one_row_of_several_folders(stored: list[str]) -> None:
    found = compare([f"ours={stored[0]}", f"ours={stored[3]}", f"theirs={stored[1]}"])
    assert found.runs == ["ours", "theirs"]


def test_folders_of_one_name_have_more_of_their_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_results(tmp_path / name / "evaluation", videos_of(0.5))
    found = compare([str(tmp_path / name / "evaluation") for name in ("one", "two")])
    assert found.runs == ["one/evaluation", "two/evaluation"]


def test_one_run_twice_on_a_dataset_is_refused(stored: list[str]) -> None:
    with pytest.raises(UsageError, match="are both 'low' on made"):
        compare([stored[0], stored[0]])
    with pytest.raises(UsageError, match="are both 'x' on made"):
        compare([f"x={stored[0]}", f"x={stored[1]}"])


@pytest.mark.parametrize("count", [0, 1])
def test_a_comparison_needs_two(stored: list[str], count: int) -> None:
    with pytest.raises(UsageError, match="two or more"):
        compare(stored[:count])


@pytest.mark.parametrize(
    ("content", "error"),
    [(None, UsageError), ("{", DamageError), ("[]", DamageError), ("{}", DamageError), ("\0", DamageError)],
)
def test_what_is_no_result_is_refused(
    stored: list[str], tmp_path: Path, content: str | None, error: type[Exception]
) -> None:
    (tmp_path / "bad").mkdir()
    if content is not None:
        (tmp_path / "bad" / "metrics.json").write_text(content)
    with pytest.raises(error, match="bad"):
        compare([stored[0], str(tmp_path / "bad")])


def test_a_series_of_probes_has_a_row_a_setting_with_means_over_seeds(tmp_path: Path) -> None:
    def probe(setting: str, seed: int, right: float) -> Predictions:
        facts = {"protocol": "few-shot/frame/1", "prompts": None, "instrument_rule": "probe_sigmoid"}
        own = {"setting": setting, "seed": seed, "train_videos": ["t"], "chosen": {"phase": {"C": 1.0}}}
        return with_facts(videos_of(right, seed=seed), **facts, **own)

    for run, more in (("a", 0.0), ("b", 0.3)):
        series = [
            probe(f"shots-{n}", seed, right + more) for n, right in ((1, 0.2), (4, 0.6)) for seed in (0, 1)
        ]
        write_series(tmp_path / run / "evaluate-made-few-shot", series)
    found = compare([str(tmp_path / run / "evaluate-made-few-shot") for run in ("a", "b")])
    assert found.runs == ["a shots-1", "a shots-4", "b shots-1", "b shots-4"]
    summary = json.loads((tmp_path / "a/evaluate-made-few-shot/metrics.json").read_text())
    cell = found.table[1][0]
    assert cell is not None
    assert cell.value == summary["settings"]["shots-4"]["phase"]["accuracy.per_video_mean"]["mean"]
    by_seed = [video_values(probe("shots-1", seed, 0.2 + more)) for more in (0.0, 0.3) for seed in (0, 1)]
    accuracies = [next(iter(values.values())).mean() for values in by_seed]
    pair = next(pair for pair in found.pairs if (pair.first, pair.second) == ("a shots-1", "b shots-1"))
    assert pair.test.difference == pytest.approx(np.mean(accuracies[2:]) - np.mean(accuracies[:2]))
    one = compare([str(tmp_path / run / "evaluate-made-few-shot/shots-4/seed-1") for run in ("a", "b")])
    assert one.runs == ["a shots-4 seed-1", "b shots-4 seed-1"]


def test_every_number_of_the_page_is_that_of_the_json(stored: list[str]) -> None:
    found = compare(stored)
    html, document = render_comparison(found), json.loads(json.dumps(found.as_dict()))
    assert_loads_nothing(html)
    numbers = Page(html).numbers
    assert len(numbers) > 100
    for number in numbers:
        expected = number.found_in(document)
        assert number.value == ("" if expected is None else repr(expected)), number.place
    assert Page(html).text.count("no small p-value") == 1


def test_hostile_names_do_no_harm(stored: list[str]) -> None:
    evil = "<script>alert(1)</script>&\"'"
    page = Page(render_comparison(compare([f"{evil}={stored[0]}", stored[1]])))
    assert page.text.count(evil) > 3
    assert "script" not in page.names()
