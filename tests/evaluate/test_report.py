# SPDX-License-Identifier: Apache-2.0
"""The report as a stranger opens it: one file, no network, every number as in metrics.json."""

from __future__ import annotations

import re
import warnings
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from made_predictions import INSTRUMENTS, PHASES, made, predicted

from ophclip.evaluate import plots
from ophclip.evaluate.predictions import VideoPrediction
from ophclip.evaluate.report import format_number, render_report
from ophclip.evaluate.report_rules import RULES
from ophclip.evaluate.results import numbers_of

EVIL = "<script>alert(1)</script>&\"'"


class Page(HTMLParser):
    """The tags of a page with their attributes, its text, and the cells of its tables by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self._open) and self.rows:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass


def drawn(video_id: str, seed: int = 0) -> VideoPrediction:
    rng = np.random.default_rng(seed)
    truth, said = rng.integers(0, 3, (2, 12)).tolist()
    present, cosines = rng.integers(0, 2, (12, 2)).tolist(), rng.normal(size=(12, 2)).tolist()
    return predicted(video_id, truth, said, present=present, cosines=cosines)


def rendered(
    predictions: list[VideoPrediction], notes: list[str] | None = None
) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Return the page, the numbers in it, and its figures."""
    stored = made(predictions, notes=notes or [])
    numbers = numbers_of(stored)
    html, figures = render_report(numbers, stored)
    return html, numbers, figures


def test_the_report_loads_nothing() -> None:
    html, _, _ = rendered([drawn("a"), drawn("b", 1)])
    page = Page(html)
    loads = ("src", "href", "xlink:href", "data", "srcset", "poster")
    loaded = [value for _, attributes in page.tags for name in loads if (value := attributes.get(name))]
    assert loaded, "the ribbons are images within the page"
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in loaded)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed"})
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_every_number_of_the_tables_is_that_of_the_metrics() -> None:
    html, numbers, _ = rendered([drawn("a"), drawn("b", 1)])
    scores = {**numbers["phase"], **numbers["instrument"]}
    rows = {row[0]: row[1:] for row in Page(html).rows if row[0] != "metric"}
    of_probes = {"fpr.micro.probe_sigmoid", "fpr.macro.probe_sigmoid"}
    assert set(rows) == set(RULES) - of_probes
    for name, (value, rule) in rows.items():
        assert value == format_number(scores[name]), name
        assert rule == RULES[name]


def test_undefined_numbers_read_not_available() -> None:
    html, _, _ = rendered([predicted("idle", [-1, -1], [0, 1])])
    rows = {row[0]: row[1] for row in Page(html).rows}
    assert rows["accuracy.pooled"] == rows["map.pooled.defined_classes"] == "n/a"
    assert "no frame is scored" in html


def test_the_report_names_weights_prompts_data_and_rules() -> None:
    html, numbers, _ = rendered([drawn("a")], ["idle seconds are not scored"])
    text = Page(html).text
    for fact in ("d" * 64, "w" * 16, "p" * 64, "own.toml", numbers["instrument"]["fpr_rule"]):
        assert fact in text
    assert "idle seconds are not scored" in text
    assert "1 videos, 12 frames" in text


@pytest.mark.parametrize("video_id", [EVIL, "$x^2$ and $\\foo$", "手術-1", "_" * 200])
def test_strange_video_ids_are_shown_as_they_are_and_do_no_harm(video_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        html, _, _ = rendered([drawn(video_id)])
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert video_id[: plots.MAX_LABEL - 1] in page.text


def test_notes_are_escaped() -> None:
    html, _, _ = rendered([drawn("a")], [EVIL])
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert EVIL in page.text


def test_figures_stand_in_the_report_and_are_always_the_same_bytes() -> None:
    first, _, figures = rendered([drawn("a")])
    assert (first, figures) == rendered([drawn("a")])[::2]
    assert len(figures) == 5
    for svg in figures.values():
        assert svg.startswith("<svg ")
        assert svg.partition(" ")[2] in first


def test_other_predictions_give_another_figure() -> None:
    assert plots.ribbon_figure([drawn("a")], PHASES, 1.0) != plots.ribbon_figure([drawn("a", 1)], PHASES, 1.0)


def test_every_figure_says_what_it_shows_to_those_who_cannot_see_it() -> None:
    html, _, _ = rendered([drawn("a")])
    labels = [attributes.get("aria-label") for tag, attributes in Page(html).tags if tag == "svg"]
    assert len(labels) == 5
    assert all(labels)


def test_of_many_videos_the_first_are_drawn_and_the_caption_says_so() -> None:
    many = [drawn(f"video-{n:03d}", n) for n in range(plots.MAX_RIBBONS + 2)]
    html, _, figures = rendered(many)
    assert f"The first {plots.MAX_RIBBONS} of {len(many)} videos: phases" in html
    assert f"The first {plots.MAX_TIMELINES} of {len(many)} videos: instruments" in html
    assert "video-047" in figures["phase_ribbons"]
    assert "video-048" not in figures["phase_ribbons"]


def test_a_dataset_without_instruments_has_a_report_of_phases_alone() -> None:
    predictions = made([drawn("a")])
    numbers = numbers_of(predictions)
    del numbers["instrument"]
    html, figures = render_report(numbers, predictions)
    assert set(figures) == {"phase_ribbons", "phase_classes", "phase_confusion"}
    assert "Phase recognition" in html
    assert "nstrument" not in Page(html).text


def test_videos_without_instruments_in_view_are_drawn() -> None:
    svg = plots.instrument_figure([predicted("a", [0, 1], [0, 1])], INSTRUMENTS, 1.0)
    assert "keratome" not in svg
    assert ">a</text>" in svg


def test_bars_show_each_class_with_its_frames_and_value() -> None:
    scores = {"keratome": {"frames": 7, "f1": 0.25}, "forceps": {"frames": 0, "f1": None}}
    svg = plots.class_figure(scores, "f1", "F1")
    for text in ("keratome (7)", "0.25", "forceps (0)", "n/a"):
        assert f">{text}</text>" in svg


def test_the_confusion_figure_shows_shares_of_the_true_class() -> None:
    svg = plots.confusion_figure([[3, 1, 0], [0, 0, 0], [0, 0, 5]], PHASES)
    for text in ("75", "25", "100", "incision (4)", "phaco (5)"):
        assert f">{text}</text>" in svg
    assert "rhexis (0)" not in svg
