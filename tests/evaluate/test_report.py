# SPDX-License-Identifier: Apache-2.0
"""The report as a stranger opens it: one file, no network, every number as in metrics.json."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from html_page import Page, assert_loads_nothing
from made_predictions import made, predicted

from ophclip.evaluate import report_instruments, report_phases
from ophclip.evaluate.predictions import Predictions, VideoPrediction
from ophclip.evaluate.report import render_report
from ophclip.evaluate.report_rules import RULES
from ophclip.evaluate.results import numbers_of, write_results
from ophclip.evaluate.series import write_series

EVIL = "<script>alert(1)</script>&\"'</title>]]>"


def drawn(video_id: str, seed: int = 0, rows: int = 12) -> VideoPrediction:
    rng = np.random.default_rng(seed)
    truth, said = rng.integers(0, 3, (2, rows)).tolist()
    present, cosines = rng.integers(0, 2, (rows, 2)).tolist(), rng.normal(size=(rows, 2)).tolist()
    return predicted(video_id, truth, said, present=present, cosines=cosines)


def rendered(predictions: Predictions) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Return the page, the numbers in it, and its figures."""
    numbers = numbers_of(predictions)
    html, figures = render_report(numbers, predictions)
    return html, numbers, figures


def with_facts(predictions: Predictions, **facts: object) -> Predictions:
    return replace(predictions, facts={**predictions.facts, **facts})


def many_classes(videos: int, rows: int, phases: int, instruments: int) -> Predictions:
    """Return videos in which the prediction changes at almost every row: the worst for the report's size."""
    rng = np.random.default_rng(1)
    made_of = [
        VideoPrediction(
            video_id=f"video-{number:03d}",
            times_s=np.arange(rows, dtype=np.float64),
            true_phases=np.sort(rng.integers(0, phases, rows)),
            true_instruments=(rng.random((rows, instruments)) > 0.5).astype(np.int64),
            phase_probabilities=rng.random((rows, phases), dtype=np.float32),
            instrument_scores=rng.random((rows, instruments), dtype=np.float32),
            instrument_probabilities=rng.random((rows, instruments), dtype=np.float32),
        )
        for number in range(videos)
    ]
    facts = {**made([]).facts, "bootstrap": {"resamples": 2, "seed": 0}}
    names = [f"step_{c}_of_surgery" for c in range(phases)], [f"tool_{c}" for c in range(instruments)]
    return Predictions(facts, *names, made_of)


@pytest.mark.parametrize("unit", ["second", "clip", "picture"])
def test_every_number_of_the_report_is_that_of_the_metrics_file(unit: str, tmp_path: Path) -> None:
    predictions = with_facts(made([drawn("a"), drawn("b", 1), drawn("c", 2, 30)]), unit=unit)
    write_results(tmp_path, predictions)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    numbers = Page((tmp_path / "report.html").read_text()).numbers
    assert len(numbers) > 50
    for number in numbers:
        expected = number.found_in(metrics)
        if expected is None:
            assert (number.value, number.text) == ("", "n/a"), number.place
            continue
        assert float(number.value) == expected, number.place
        shown = float(number.text.replace(",", ""))
        digits = len(number.text.partition(".")[2])
        assert any(
            shown == pytest.approx(scale * expected, abs=0.5 * 10**-digits + 1e-9) for scale in (1, 100)
        ), number


def test_every_number_of_both_sections_is_in_the_table_with_its_interval_and_its_rule() -> None:
    html, numbers, _ = rendered(made([drawn("a"), drawn("b", 1)]))
    page = Page(html)
    places = {tuple(number.place) for number in page.numbers}
    for section in ("phase", "instrument"):
        single = [name for name, value in numbers[section].items() if isinstance(value, float)]
        assert len(single) > 5
        for name in single:
            assert (section, name) in places
            assert ((section, "ci95", name, "0") in places) == (numbers[section]["ci95"][name] is not None)
            assert RULES[name] in page.text


def test_the_report_loads_nothing() -> None:
    html, _, _ = rendered(made([drawn("a"), drawn("b", 1)]))
    assert_loads_nothing(html)


def test_undefined_numbers_read_not_available() -> None:
    html, _, _ = rendered(made([predicted("idle", [-1, -1], [0, 1])]))
    texts = {tuple(number.place): number.text for number in Page(html).numbers}
    assert texts["phase", "accuracy.pooled"] == texts["instrument", "map.pooled.defined_classes"] == "n/a"
    assert "no frame is scored" in html


def test_the_report_names_weights_prompts_data_rules_and_how_to_compute_it_again() -> None:
    html, numbers, _ = rendered(made([drawn("a")], notes=["idle seconds are not scored"]))
    text = Page(html).text
    for fact in ("d" * 64, "w" * 16, "p" * 64, "own.toml version 3", numbers["instrument"]["fpr_rule"]):
        assert fact in text
    assert "idle seconds are not scored" in text
    assert "ophclip evaluate --from ." in text


def test_hostile_names_are_shown_as_they_are_and_do_no_harm() -> None:
    videos = [drawn(EVIL), drawn("b", 1)]
    predictions = Predictions(
        {
            **made(videos, notes=[EVIL]).facts,
            "dataset": EVIL,
            "weights": EVIL,
            "licence": EVIL,
            "source": EVIL,
        },
        [f"{EVIL}{number}" for number in range(3)],
        [EVIL, "forceps"],
        videos,
    )
    for unit in ("second", "clip", "picture"):
        html, _, figures = rendered(with_facts(predictions, unit=unit))
        assert_loads_nothing(html)
        page = Page(html)
        assert page.text.count(EVIL) >= 6
        assert {tag for tag, _ in page.tags}.isdisjoint({"script", "alert"})
        for svg in figures.values():
            tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
            assert "script" not in tags


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("$x^2$ \\foo", "$x^2$ \\foo"),
        ("手術-1", "手術-1"),
        ("_" * 200, "_" * 200),
        ("a\x00\x1b[31mb", "a\ufffd\ufffd[31mb"),
        ("lone \udcff", "lone \ufffd"),
    ],
)
def test_strange_names_are_shown_in_the_page_and_in_figures(name: str, shown: str, tmp_path: Path) -> None:
    predictions = replace(made([drawn(name)]), phase_names=[name, "b", "c"], instrument_names=[name, "d"])
    write_results(tmp_path, predictions)
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert shown.replace("_", " ") in text
    assert shown in text
    for path in (tmp_path / "plots").iterdir():
        ElementTree.parse(path)


def test_the_same_predictions_give_the_same_bytes_and_others_do_not() -> None:
    first = rendered(made([drawn("a")]))
    assert first == rendered(made([drawn("a")]))
    assert first[0] != rendered(made([drawn("a", 1)]))[0]


def test_figures_are_files_of_their_own() -> None:
    _, _, figures = rendered(made([drawn("a"), drawn("b", 1)]))
    assert set(figures) == {
        "phase_ribbons",
        "phase_classes",
        "phase_confusion",
        "instrument_classes",
        "instrument_timeline_1",
        "instrument_timeline_2",
    }
    for svg in figures.values():
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert float(root.attrib["width"]) > 0 < float(root.attrib["height"])


def test_every_strip_says_what_it_shows_to_those_who_cannot_see_it() -> None:
    html, _, _ = rendered(made([drawn("a"), drawn("b", 1)]))
    pictures = [found for tag, found in Page(html).tags if tag == "svg" and found.get("role") == "img"]
    assert len(pictures) > 8
    assert all(found.get("aria-label") for found in pictures)


def test_videos_stand_the_worst_first() -> None:
    videos = [
        predicted(name, [0, 1, 2, 0], said)
        for name, said in (("good", [0, 1, 2, 0]), ("bad", [1, 2, 0, 1]), ("fair", [0, 1, 0, 1]))
    ]
    order = re.findall(r"phases of (\w+), truth", rendered(made(videos))[0])
    assert order == ["bad", "fair", "good"]


def test_of_many_videos_the_worst_and_the_best_are_open_and_all_are_there() -> None:
    many = made([drawn(f"video-{number:03d}", number) for number in range(20)])
    html, _, _ = rendered(many)
    assert f"The other {20 - 2 * report_phases.EXAMPLES} videos" in html
    names = re.findall(r"phases of (video-\d+), truth", html)
    assert sorted(names) == [video.video_id for video in many.videos]


def test_a_long_corpus_of_many_classes_stays_a_small_file_and_says_what_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus = many_classes(videos=100, rows=600, phases=107, instruments=8)
    html, numbers, _ = rendered(corpus)
    assert len(html.encode()) < 5 << 20
    monkeypatch.setattr(report_phases, "MOST_BYTES", 100_000)
    monkeypatch.setattr(report_instruments, "MOST_BYTES", 100_000)
    smaller, _ = render_report(numbers, corpus)
    assert len(smaller) < len(html)
    shown = len(set(re.findall(r"phases of (video-\d+), truth", smaller)))
    told = re.search(r"(\d+) more do not fit in this file", smaller)
    assert told is not None
    assert shown + int(told[1]) == 100


def test_a_long_legend_is_folded_but_printed_and_a_short_one_is_open() -> None:
    html, _, _ = rendered(many_classes(videos=2, rows=300, phases=50, instruments=1))
    assert re.search(r"<details><summary>Legend: fills and numbers of the \d+ classes", html)
    assert html.count('class="paper"') == 1
    short, _, _ = rendered(made([drawn("a")]))
    assert "Legend:" not in short
    assert 'class="legend"' in short


def test_pictures_are_counted_and_have_no_time() -> None:
    html, _, figures = rendered(with_facts(made([drawn("a"), drawn("b", 1)]), unit="picture"))
    text = Page(html).text
    assert "Picture by picture" in text
    assert "2 videos, 24 pictures" in text
    assert "minutes" not in text
    assert "phase_taken_for" in figures


def test_clips_are_shown_by_what_their_class_was_taken_for() -> None:
    clips = [predicted(f"clip-{n}", [n % 2], [said]) for n, said in enumerate([0, 1, 0, 2, 1, 1])]
    html, _, _ = rendered(with_facts(made(clips), unit="clip"))
    text = Page(html).text
    assert "6 clips" in text
    assert "minutes" not in text
    assert "incision: 1 of 3 taken for 2 rhexis" in text
    assert "incision: 2 of 3 right" in text
    assert "rhexis: 2 of 3 right" in text


def test_a_series_of_probes_is_reported_with_all_its_settings(tmp_path: Path) -> None:
    facts = {"protocol": "few-shot/frame/1", "prompts": None, "instrument_rule": "probe_sigmoid"}
    series = []
    for setting, seed in (("shots-1", 0), ("shots-1", 1), ("shots-4", 0)):
        chosen = {task: {"C": 1.0} for task in ("phase", "instrument")}
        own = {"setting": setting, "seed": seed, "train_videos": ["t"], "chosen": chosen}
        series.append(with_facts(made([drawn("a", seed), drawn("b", 9)]), **facts, **own))
    write_series(tmp_path, series)
    page = Page((tmp_path / "report.html").read_text())
    assert "A logistic regression has learnt from 1 other videos (shots-4, seed 0)" in page.text
    own_numbers, summary = (
        json.loads((tmp_path / part / "metrics.json").read_text()) for part in ("shots-4/seed-0", ".")
    )
    of_settings = [number for number in page.numbers if number.place[0] == "settings"]
    assert len(of_settings) >= 3 * 3
    for number in page.numbers:
        expected = number.found_in(summary if number in of_settings else own_numbers)
        assert number.value == ("" if expected is None else repr(expected)), number.place


def test_smoothed_numbers_are_reported_apart() -> None:
    html, numbers, _ = rendered(with_facts(made([drawn("a"), drawn("b", 1)]), smooth_s=3.0))
    page = Page(html)
    assert "After smoothing over 3 seconds" in page.text
    smoothed = [number for number in page.numbers if number.place[0] == "smoothed"]
    assert len(smoothed) > 20
    assert all(number.value == repr(number.found_in(numbers)) for number in smoothed)


def test_a_dataset_without_instruments_has_a_report_of_phases_alone() -> None:
    video = replace(
        drawn("a"),
        true_instruments=None,
        instrument_scores=np.zeros((12, 0), np.float32),
        instrument_probabilities=np.zeros((12, 0), np.float32),
    )
    html, _, figures = rendered(replace(made([video]), instrument_names=[]))
    assert set(figures) == {"phase_ribbons", "phase_classes", "phase_confusion"}
    assert "nstrument" not in Page(html).text


@pytest.mark.parametrize("videos", [[predicted("empty", [], [])], [predicted("one", [0], [0])]])
@pytest.mark.parametrize("unit", ["second", "clip", "picture"])
def test_next_to_nothing_has_a_report(videos: list[VideoPrediction], unit: str) -> None:
    html, _, figures = rendered(with_facts(made(videos), unit=unit))
    Page(html)
    for svg in figures.values():
        ElementTree.fromstring(svg)
