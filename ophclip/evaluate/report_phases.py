# SPDX-License-Identifier: Apache-2.0
"""The report's section on phases: ribbons, confusions and bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ophclip.evaluate import plots
from ophclip.evaluate.plots_classes import bar_chart
from ophclip.evaluate.plots_confusion import confusion_figure, largest_mistakes
from ophclip.evaluate.plots_phases import class_chart, phase_chart
from ophclip.evaluate.plots_words import escaped
from ophclip.evaluate.predictions import Predictions
from ophclip.evaluate.report_parts import bullet_list, class_table, figure, first_and_all, folded, things_of

EXAMPLES = 4  # of the worst videos, and of the best, that are shown before the rest is unfolded
OPEN_LEGEND = 24  # classes; a longer legend is folded
OPEN_CLASSES = 24  # of those taken for others
OPEN_BARS = 10  # of the best classes, and of the worst, where there are many
MISTAKES = 10
ENOUGH = 10  # frames of a class: of fewer, no share is told in words
LISTED = 8  # classes by name in a sentence
MOST_BYTES = 2 << 20  # of the ribbons: beyond it, the videos in the middle are left to predictions.npz

Section = tuple[str, dict[str, str]]  # HTML, and its figures by name


def phase_section(numbers: dict[str, Any], predictions: Predictions) -> Section:
    """Return the section, empty where the dataset has no phases."""
    if "phase" not in numbers:
        return "", {}
    phase, names = numbers["phase"], predictions.phase_names
    things, timed = things_of(numbers), numbers["unit"] == "second"
    chart = phase_chart(predictions, phase["by_video"]) if timed else class_chart(phase["confusion"], names)
    bars = bar_chart("phase", phase["by_class"], "f1", f"F1, all {things} together", numbered=True)
    matrix = confusion_figure(phase["confusion"], names)
    body = "<h2>Phases</h2>" + bullet_list(_words(numbers))
    if timed:
        body += f"<h3>Over time</h3>{_ribbons(chart)}{_legend(chart)}"
    else:
        body += f"<h3>What each class was taken for</h3>{_taken(chart, things)}{_legend(chart)}"
    body += f"<h3>Where the {things} went</h3>"
    body += figure(matrix.html(), "Each row is a true class; a cell is the percent of it.")
    body += _mistakes(phase, names, things)
    body += f"<h3>Each phase</h3>{_bars(bars, things)}{class_table('phase', phase['by_class'])}"
    return body, {
        "phase_ribbons" if timed else "phase_taken_for": plots.chart_svg(chart),
        "phase_classes": plots.chart_svg(bars),
        "phase_confusion": matrix.svg(),
    }


def _words(numbers: dict[str, Any]) -> list[str]:
    """Say the main findings as a surgeon would; each number is one of metrics.json."""
    phase, things = numbers["phase"], things_of(numbers)
    if phase["accuracy.per_video_mean"] is None:
        return [f"None of the {things} is scored: all lie outside every class."]
    right, guess, most = (
        plots.number_html(phase[name], ("phase", name), 0, scale=100)
        for name in ("accuracy.per_video_mean", "accuracy.chance_uniform", "accuracy.chance_majority")
    )
    scored = f"every 100 scored {things}"
    whole = f"Of {scored}" if numbers["frames"] == numbers["videos"] else f"In the average video, of {scored}"
    words = [
        f"{whole}, {right} are named rightly. Blind guessing would reach {guess}, "
        f"always naming the most frequent class {most}."
    ]
    by_class = phase["by_class"]
    known = [name for name, own in by_class.items() if own["frames"] >= ENOUGH]
    ranked = sorted(known, key=lambda name: -by_class[name]["recall"])
    if len(ranked) > 1:
        best, worst = (_share_found(phase, name, things) for name in (ranked[0], ranked[-1]))
        words.append(f"Found best: {best}. Found least: {worst}.")
    absent = [plots.readable(name) for name, own in by_class.items() if not own["frames"]]
    if absent:
        more = f" and {len(absent) - LISTED} more" if len(absent) > LISTED else ""
        words.append(f"Never true here: {escaped(', '.join(absent[:LISTED]))}{more}.")
    return words


def _share_found(phase: dict[str, Any], name: str, things: str) -> str:
    own = phase["by_class"][name]
    share = plots.number_html(own["recall"], ("phase", "by_class", name, "recall"), 0, scale=100)
    return f"{escaped(plots.readable(name))} ({share} % of its {own['frames']:,} {things})"


def _ribbons(chart: plots.Chart) -> str:
    count = len(chart.rows)
    caption = (
        "Each video is two ribbons: above what happened, below what the model said; the thin dark line marks "
        "where they differ. Pale stretches are not scored. The number at the right is the accuracy."
    )
    if count <= 2 * EXAMPLES:
        return figure(plots.chart_html(chart), f"{caption} All {count} videos, the least accurate first.")
    best = list(reversed(chart.rows[-EXAMPLES:]))
    shown = (
        f"<h4>The {EXAMPLES} least accurate videos</h4>{plots.chart_html(chart, chart.rows[:EXAMPLES])}"
        f"<h4>The {EXAMPLES} most accurate</h4>{plots.chart_html(chart, best)}"
    )
    middle = _within(chart.rows[EXAMPLES:-EXAMPLES], MOST_BYTES)
    left_out = count - 2 * EXAMPLES - len(middle)
    more = f"The other {len(middle)} videos, the least accurate first"
    if left_out:
        more += f"; {left_out} more do not fit in this file, predictions.npz has them"
    return figure(shown, caption) + folded(more, plots.chart_html(chart, middle))


def _within(rows: Sequence[plots.Row], most_bytes: int) -> list[plots.Row]:
    """Return the first rows that together take no more than so many bytes."""
    kept, size = [], 0
    for row in rows:
        size += len(row.marks) + 100 * len(row.texts)
        if size > most_bytes:
            break
        kept.append(row)
    return kept


def _taken(chart: plots.Chart, things: str) -> str:
    caption = (
        f"All {things} of a class, beginning with those named rightly; the other fills are what the rest was "
        f"taken for. The class found least comes first; behind each name its number of {things}."
    )
    return first_and_all(chart, OPEN_CLASSES, caption, f"All {len(chart.rows)} classes")


def _legend(chart: plots.Chart) -> str:
    legend = plots.legend_html(chart.labels, chart.names)
    if len(chart.labels) <= OPEN_LEGEND:
        return legend
    summary = f"Legend: fills and numbers of the {len(chart.labels)} classes that occur"
    return f'{folded(summary, legend)}<div class="paper">{legend}</div>'  # paper cannot be unfolded


def _mistakes(phase: dict[str, Any], names: Sequence[str], things: str) -> str:
    rows = []
    for mistake in largest_mistakes(phase["confusion"], MISTAKES):
        true, said = (
            f"{label + 1} {plots.readable(names[label])}" for label in (mistake.true, mistake.predicted)
        )
        key = ("phase", "confusion", str(mistake.true), str(mistake.predicted))
        rows.append(
            f"<tr><td>{escaped(true)}</td><td>{escaped(said)}</td>"
            f'<td class="number">{plots.number_html(mistake.frames, key, 0)}</td>'
            f'<td class="number">{100 * mistake.share:.0f} %</td></tr>'
        )
    if not rows:
        return ""
    head = f"<tr><th>true</th><th>taken for</th><th>{things}</th><th>of the class</th></tr>"
    return f'<h4>The largest confusions</h4><div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _bars(chart: plots.Chart, things: str) -> str:
    caption = (
        f"F1 of each class, the best first, with its 95 % interval as a line; behind each name its number of "
        f"{things}."
    )
    if len(chart.rows) <= 3 * OPEN_BARS:
        return figure(plots.chart_html(chart), caption)
    defined = [row for row in chart.rows if row.value is not None]
    ends = [*defined[:OPEN_BARS], *defined[max(OPEN_BARS, len(defined) - OPEN_BARS) :]]
    shown = figure(plots.chart_html(chart, ends), f"{caption} Only the {OPEN_BARS} best and worst.")
    return shown + folded(f"All {len(chart.rows)} classes", plots.chart_html(chart))
