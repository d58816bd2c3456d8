# SPDX-License-Identifier: Apache-2.0
"""A comparison as one HTML file, in the clothes of the report."""

from __future__ import annotations

import itertools

from ophclip.evaluate.compare_outcome import Cell, Column, Comparison, Pair
from ophclip.evaluate.plots import Axis, Chart, Row, chart_html, number_html
from ophclip.evaluate.plots_runs import BOX, short
from ophclip.evaluate.plots_words import escaped
from ophclip.evaluate.report import page
from ophclip.evaluate.report_parts import bullet_list, figure
from ophclip.evaluate.report_rules import RULES

HEIGHT = 14
SCALES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def render_comparison(comparison: Comparison) -> str:
    """Return the page; each number has its place in the command's JSON beside it."""
    body = (
        f"<h1>Comparison of {len(comparison.runs)} runs</h1>"
        f'<p class="lead">{escaped(", ".join(comparison.runs))}</p>'
        f"<h2>All datasets</h2>{_table(comparison)}{_rules(comparison.columns)}"
        f"{_pairs(comparison)}{_notes(comparison)}{_provenance(comparison)}"
    )
    return page("ophclip: comparison", body, [])


def _table(comparison: Comparison) -> str:
    groups = [
        (dataset, len(list(members)))
        for dataset, members in itertools.groupby(comparison.columns, key=lambda column: column.dataset)
    ]
    datasets = "".join(f'<th colspan="{count}">{escaped(dataset)}</th>' for dataset, count in groups)
    labels = "".join(f"<th>{escaped(column.headline.label)}</th>" for column in comparison.columns)
    rows = [
        f"<tr><th>{escaped(run)}</th>"
        + "".join(_cell(cell, (str(row), str(column))) for column, cell in enumerate(comparison.table[row]))
        + "</tr>"
        for row, run in enumerate(comparison.runs)
    ]
    heads = f"<tr><th></th>{datasets}</tr><tr><th>run</th>{labels}</tr>"
    return f'<div class="scroll"><table class="runs">{heads}{"".join(rows)}</table></div>'


def _cell(cell: Cell | None, place: tuple[str, str]) -> str:
    if cell is None:
        return '<td class="soft">-</td>'
    key = ("table", *place)
    number = number_html(cell.value, (*key, "value"))
    shown = f"<b>{number}</b>" if cell.best else number
    if cell.ci95 is None:
        return f"<td>{shown}</td>"
    low, high = (number_html(bound, (*key, "ci95", str(end))) for end, bound in enumerate(cell.ci95))
    return f'<td>{shown}<br><span class="soft">{low} to {high}</span></td>'


def _rules(columns: list[Column]) -> str:
    names = dict.fromkeys(column.headline for column in columns)
    told = [
        f"{escaped(headline.label)}: {escaped(RULES[headline.name])}."
        f"{'' if headline.more_is_better else ' Less is better.'}"
        for headline in names
    ]
    told.append("Below each number its 95 % interval; bold is the best of a column.")
    return bullet_list(told)


def _pairs(comparison: Comparison) -> str:
    if not comparison.pairs:
        return (
            "<h2>Video by video</h2><p>No two results are of the same dataset: there is nothing to test.</p>"
        )
    parts = ["<h2>Video by video</h2>"]
    numbered = list(enumerate(comparison.pairs))
    for (dataset, metric), members in itertools.groupby(
        numbered, key=lambda member: (member[1].dataset, member[1].metric)
    ):
        group = list(members)
        better = "more" if metric.more_is_better else "less"
        caption = (
            f"{metric.rule[:1].upper()}{metric.rule[1:]}, averaged over videos; {better} is better. "
            "The square is the difference, the line its 95 % interval (bootstrap over videos)."
        )
        heading = f"<h3>{escaped(dataset)}, {escaped(metric.label)}</h3>"
        parts.append(heading + figure(_differences(group), caption) + _test_table(group))
    return "".join(parts)


def _differences(group: list[tuple[int, Pair]]) -> str:
    bounds = [abs(bound) for _, pair in group for bound in (pair.test.ci95 or (pair.test.difference or 0.0,))]
    scale = next(scale for scale in SCALES if max(bounds) <= scale)
    rows = [
        Row(
            name=f"{pair.second} - {pair.first}",
            marks=_difference_marks(pair, scale),
            spoken=f"difference of {pair.second} and {pair.first}: {pair.test.difference}",
        )
        for _, pair in group
    ]
    ticks = [((share + 1) / 2, f"{share * scale:+g}" if share else "0") for share in (-1, -0.5, 0, 0.5, 1)]
    return chart_html(Chart(rows, HEIGHT, Axis(ticks, "difference")))


def _difference_marks(pair: Pair, scale: float) -> str:
    def at(value: float) -> float:
        return BOX * (value / scale + 1) / 2

    zero = f'<rect class="mark" x="{BOX / 2 - 0.5}" width="1" height="{HEIGHT}"/>'
    if pair.test.difference is None:
        return zero
    line = ""
    if pair.test.ci95:
        low, high = (at(bound) for bound in pair.test.ci95)
        line = f'<rect class="bar" x="{short(low)}" y="6" width="{short(high - low)}" height="2"/>'
    dot = f'<rect class="bar" x="{short(at(pair.test.difference) - 4)}" y="2" width="8" height="10"/>'
    return zero + line + dot


def _test_table(group: list[tuple[int, Pair]]) -> str:
    several = len(group) > 1
    rows = []
    for index, pair in group:
        test, key = pair.test, ("pairs", str(index))
        interval = ""
        if test.ci95:
            interval = " to ".join(
                number_html(bound, (*key, "ci95", str(end)), signed=True)
                for end, bound in enumerate(test.ci95)
            )
        cells = [
            number_html(test.difference, (*key, "difference"), signed=True),
            interval,
            number_html(test.p, (*key, "p"), 5),
            *([number_html(pair.p_holm, (*key, "p_holm"), 5)] if several else []),
            number_html(test.smallest_p, (*key, "smallest_p"), 5),
            number_html(test.videos, (*key, "videos"), 0),
        ]
        name = f"{escaped(pair.second)} - {escaped(pair.first)}"
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f"<tr><td>{name}</td>{numbers}<td>{escaped(test.method)}</td></tr>")
    holm = "<th>p (Holm)</th>" if several else ""
    head = (
        "<tr><th>pair</th><th>difference</th><th>95 % interval</th><th>p</th>"
        f"{holm}<th>least p possible</th><th>videos</th><th>test</th></tr>"
    )
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _notes(comparison: Comparison) -> str:
    notes = bullet_list(map(escaped, comparison.notes))
    return f"<h2>Notes</h2>{notes}" if comparison.notes else ""


def _provenance(comparison: Comparison) -> str:
    names = ("run", "dataset", "protocol", "weights", "prompts", "data sha256")
    head = f"<tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>"
    rows = []
    for result in comparison.results:
        prompts = result.numbers["prompts"]
        told = (
            result.run,
            result.dataset,
            result.protocol,
            result.numbers["weights"],
            f"{prompts['file']} version {prompts['version']} ({prompts['variant']})" if prompts else "none",
            result.data_sha256[:16],
        )
        rows.append("<tr>" + "".join(f"<td>{escaped(str(part))}</td>" for part in told) + "</tr>")
    return f'<h2>Where this comes from</h2><div class="scroll"><table>{head}{"".join(rows)}</table></div>'
