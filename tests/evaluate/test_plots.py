# SPDX-License-Identifier: Apache-2.0
"""Figures: what their shapes say of the labels, and whether the eye can tell them apart."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_predictions import PHASES, made, predicted

from ophclip.evaluate.plots import chart_html, chart_svg, legend_html
from ophclip.evaluate.plots_classes import bar_chart
from ophclip.evaluate.plots_colours import COLOURS, TEXTURES, fill_css, fill_defs, ink
from ophclip.evaluate.plots_confusion import confusion_figure, largest_mistakes
from ophclip.evaluate.plots_instruments import picture_axis, timeline_chart
from ophclip.evaluate.plots_phases import class_chart, phase_chart, time_axis
from ophclip.evaluate.plots_runs import BOX, Band, condensed, runs_of, shapes

# Simulation of full colour blindness in linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
SIGHT = {
    "normal": np.eye(3),
    "protan": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deutan": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritan": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
TO_CONES = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
TO_OKLAB = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]

labels = st.lists(st.integers(-1, 4), max_size=60).map(lambda values: np.array(values, dtype=np.int64))


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def seen(colour: str, sight: str) -> np.ndarray:
    """Return the OKLab coordinates of a colour as somebody sees it."""
    cones = np.array(TO_CONES) @ np.clip(np.array(SIGHT[sight]) @ linear(colour), 0, 1)
    return np.array(TO_OKLAB) @ np.cbrt(cones)


def distance(one: str, other: str) -> float:
    """Return how far apart two colours are to whoever tells them apart least."""
    return min(float(np.linalg.norm(seen(one, sight) - seen(other, sight))) for sight in SIGHT)


def widths(svg: str, style: str) -> list[tuple[float, float]]:
    """Return start and width of each piece of the paths of a class, in order."""
    outlines = re.findall(rf'<path class="{style}" d="([^"]*)"', svg)
    pieces = [piece for outline in outlines for piece in re.findall(r"M(\S+) \S+?h([\d.]+)v", outline)]
    return sorted((float(start), float(width)) for start, width in pieces)


def test_the_colour_blind_tell_the_colours_apart() -> None:
    assert all(distance(one, other) > 0.08 for one, other in itertools.combinations(COLOURS, 2))
    assert all(distance(one, other) > 0.12 for one, other in itertools.pairwise(COLOURS))


def test_a_hundred_and_seven_classes_have_a_look_each() -> None:
    assert len(COLOURS) * len(TEXTURES) >= 107
    everything = range(107)
    solid = dict(re.findall(r"\.c(\d+)\{fill:(#\w+)\}", fill_css(everything)))
    patterns = re.findall(r'<pattern id="t(\d+)".*?fill="(#\w+)"/><path d="(.*?)"', fill_defs(everything))
    looks = [(colour, "") for colour in solid.values()] + [
        (colour, texture) for _, colour, texture in patterns
    ]
    assert len(looks) == len(set(looks)) == 107


def test_numbers_can_be_read_on_every_colour() -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])
    for label, colour in enumerate(COLOURS):
        fill, text = float(weights @ linear(colour)), float(ink(label) == "#fff")
        lighter, darker = max(fill, text) + 0.05, min(fill, text) + 0.05
        assert lighter / darker >= 4.5


@given(labels)
def test_runs_hold_exactly_the_labels(values: np.ndarray) -> None:
    runs = runs_of(values)
    again = [run.label for run in runs for _ in range(run.start, run.end)]
    assert again == values.tolist()
    assert all(one.label != other.label for one, other in itertools.pairwise(runs))


@given(labels.filter(len), st.integers(1, 70))
def test_condensed_labels_are_the_most_frequent_of_each_part(values: np.ndarray, columns: int) -> None:
    shown = condensed(values, columns)
    assert len(shown) == min(len(values), columns)
    if len(values) > columns:
        parts = np.arange(len(values)) * columns // len(values)
        for part, label in enumerate(shown.tolist()):
            counts = {c: (values[parts == part] == c).sum() for c in set(values[parts == part].tolist())}
            assert counts[label] == max(counts.values())


def test_narrow_runs_of_a_label_are_one_shape_and_wide_ones_have_their_own_words() -> None:
    runs = runs_of(np.array([0] * 500 + [1, 0] * 50))
    svg = shapes(
        runs, Band(0, 10, 1.0), lambda c: f"c{c}", lambda run: f"from {run.start}", lambda c: f"all {c}"
    )
    assert svg.count("<path") == 3
    assert "<title>from 0</title>" in svg
    assert widths(svg, "c1") == [(500.0 + 2 * n, 1.0) for n in range(50)]


def test_ribbons_show_truth_and_prediction_at_their_place_in_time() -> None:
    video = predicted("a", [0, 0, -1, 1], [0, 2, 2, 1])
    marks = phase_chart(made([video]), {"a": 2 / 3}).rows[0].marks
    assert widths(marks, "c0") == [(0, 250), (0, 500)]
    assert widths(marks, "c1") == [(750, 250), (750, 250)]
    assert widths(marks, "c2") == [(250, 500)]
    assert widths(marks, "veil") == [(500, 250)]
    assert widths(marks, "mark") == [(250, 250)]
    assert "<title>truth: 1 incision, 0:00 to 0:02</title>" in marks
    assert "<title>predicted: 3 phaco, 0:01 to 0:03</title>" in marks


def test_a_long_video_of_one_phase_is_two_rectangles() -> None:
    chart = phase_chart(made([predicted("a", [0] * 7000, [0] * 7000)]), {"a": 1.0})
    assert chart.rows[0].marks.count("<path") == 2


def test_a_shorter_video_is_a_shorter_ribbon() -> None:
    chart = phase_chart(
        made([predicted("a", [0] * 4, [0] * 4), predicted("b", [0], [0])]), {"a": 1.0, "b": 1.0}
    )
    assert [widths(row.marks, "c0")[0][1] for row in chart.rows] == [BOX, BOX / 4]


@given(st.floats(0.5, 40_000))
def test_a_time_axis_has_few_ticks_that_begin_at_zero(duration_s: float) -> None:
    ticks = time_axis(duration_s).ticks
    shares = [share for share, _ in ticks]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    assert len(ticks) <= 9
    assert len({text for _, text in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("duration_s", "title", "texts"),
    [
        (16, "minutes:seconds", ["0:00", "0:02", "0:04"]),
        (480, "minutes", ["0", "1", "2"]),
        (3 * 3600, "minutes", ["0", "30", "60"]),
    ],
)
def test_times_are_minutes(duration_s: float, title: str, texts: Sequence[str]) -> None:
    axis = time_axis(duration_s)
    assert axis.title == title
    assert [text for _, text in axis.ticks][: len(texts)] == list(texts)


def test_pictures_are_counted_from_one() -> None:
    assert picture_axis(3).ticks == [(1 / 6, "1"), (0.5, "2"), (5 / 6, "3")]


def test_a_timeline_tells_right_from_false_reports() -> None:
    present = [[1, 0], [1, 0], [0, 0], [0, 0]]
    video = predicted("a", [0] * 4, [0] * 4, present=present, cosines=[[-1, -1], [1, -1], [1, -1], [-1, -1]])
    chart = timeline_chart(video, made([video]))
    assert [row.name for row in chart.rows] == ["keratome"]  # the other is neither in view nor reported
    marks = chart.rows[0].marks
    assert widths(marks, "true") == [(0, 500)]
    assert widths(marks, "hit") == [(250, 250)]
    assert widths(marks, "false") == [(500, 250)]
    assert chart.rows[0].spoken == "keratome: in view in 2 of 4, reported in 2, of which 1 rightly"


def test_bars_are_sorted_and_undefined_ones_come_last() -> None:
    scores = {
        "keratome": {"frames": 7, "f1": 0.25, "ci95": {"f1": [0.1, 0.5]}},
        "forceps": {"frames": 0, "f1": None, "ci95": {"f1": None}},
        "phaco_probe": {"frames": 1234, "f1": 0.5, "ci95": {"f1": None}},
    }
    chart = bar_chart("phase", scores, "f1", "F1")
    assert [row.name for row in chart.rows] == ["phaco probe", "keratome", "forceps"]
    assert [row.detail for row in chart.rows] == ["1,234", "7", "0"]
    assert 'width="250"' in chart.rows[1].marks
    assert 'x="100" y="6.3" width="400"' in chart.rows[1].marks
    assert ">n/a</data>" in chart_html(chart)
    assert ">0.25</text>" in chart_svg(chart)


def test_the_confusion_figure_shows_shares_of_the_true_class() -> None:
    svg = confusion_figure([[3, 1, 0], [0, 0, 0], [0, 0, 5]], PHASES).svg()
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]
    for text in ("75", "25", "100", "incision (4) 1", "phaco (5) 3"):
        assert text in texts
    assert "incision: 1 of 4 taken for rhexis (25.0 %)" in svg


def test_a_confusion_figure_of_many_classes_has_no_words_in_its_cells_but_on_them() -> None:
    confusion = 90 * np.eye(107, dtype=np.int64) + np.roll(10 * np.eye(107, dtype=np.int64), 1, axis=1)
    figure = confusion_figure(confusion.tolist(), [f"step_{c}" for c in range(107)])
    assert figure.width < 800
    assert figure.inner.count("<title>") == 2 * 107
    assert "<title>step 3: 10 of 100 taken for step 4 (10.0 %)</title>" in figure.inner
    assert len(re.findall("<text", figure.inner)) < 90


def test_the_largest_mistakes_come_first_and_right_ones_are_none() -> None:
    found = largest_mistakes([[9, 1, 0], [4, 0, 0], [0, 2, 2]], most=2)
    assert [(m.true, m.predicted, m.frames, m.share) for m in found] == [(1, 0, 4, 1.0), (2, 1, 2, 0.5)]
    assert largest_mistakes([[1, 0], [0, 0]], most=5) == []
    assert largest_mistakes([], most=5) == []


def test_a_class_chart_begins_with_what_is_right() -> None:
    chart = class_chart([[1, 3, 0], [0, 0, 0], [0, 1, 3]], PHASES)
    assert [row.name for row in chart.rows] == ["1 incision", "3 phaco"]
    assert widths(chart.rows[0].marks, "c0") == [(0, 250)]
    assert widths(chart.rows[0].marks, "c1") == [(250, 750)]


def test_a_legend_names_each_class_by_number() -> None:
    text = legend_html([0, 2], PHASES)
    assert "<b>1</b> incision" in text
    assert "<b>3</b> phaco" in text
    assert "rhexis" not in text
