# SPDX-License-Identifier: Apache-2.0
"""Pieces of the report: cards, tables, figures with their captions, and what is folded away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ophclip.evaluate.plots import Chart, chart_html, number_html, readable
from ophclip.evaluate.plots_runs import short
from ophclip.evaluate.plots_words import escaped
from ophclip.evaluate.report_headlines import Headline, headlines_of
from ophclip.evaluate.report_rules import RULES

SECTIONS = {"phase": "Phases", "instrument": "Instruments"}


def interval_of(scores: dict[str, Any], name: str) -> tuple[float, float] | None:
    """Return the 95 % interval of a number, None where there is none."""
    found = scores.get("ci95", {}).get(name)
    return (float(found[0]), float(found[1])) if found else None


def cards(numbers: dict[str, Any]) -> str:
    """Return the numbers that come first, each with its interval, what chance gives, and its rule."""
    parts = [_card(numbers[headline.section], headline) for headline in headlines_of(numbers)]
    return f'<ul class="headline">{"".join(parts)}</ul>'


def metric_table(numbers: dict[str, Any], place: tuple[str, ...] = ()) -> str:
    """Return every number with its interval and its averaging rule; none of metrics.json is left out.

    `place` is where the sections are in metrics.json, if not at its top.
    """
    for part in place:
        numbers = numbers[part]
    rows = [
        f"<tr><td><code>{escaped(name)}</code></td>"
        f'<td class="number">{number_html(scores[name], (*place, section, name))}</td>'
        f'<td class="number">{interval_html(scores, (*place, section, name))}</td>'
        f"<td>{escaped(RULES.get(name, ''))}</td></tr>"
        for section in SECTIONS
        if (scores := numbers.get(section))
        for name in _names(scores)
    ]
    head = "<tr><th>metric</th><th>value</th><th>95 % interval</th><th>how it is averaged</th></tr>"
    return f'<div class="scroll"><table class="metrics">{head}{"".join(rows)}</table></div>'


def class_table(section: str, scores: dict[str, dict[str, Any]]) -> str:
    """Return all numbers of all classes, with their intervals."""
    columns = [column for column in next(iter(scores.values()), {}) if column != "ci95"]
    head = "".join(f"<th>{escaped(readable(column))}</th>" for column in columns)
    rows = [
        f"<tr><td>{index}</td><td>{escaped(readable(name))}</td>"
        + "".join(_cell(own, (section, "by_class", name), column) for column in columns)
        + "</tr>"
        for index, (name, own) in enumerate(scores.items(), start=1)
    ]
    table = f"<table><tr><th></th><th>class</th>{head}</tr>{''.join(rows)}</table>"
    summary = f"All numbers of the {len(scores)} classes, with 95 % intervals"
    return folded(summary, f'<div class="scroll">{table}</div>')


def figure(body: str, caption: str) -> str:
    """Return a figure with its caption below."""
    return f'<figure>{body}<figcaption class="soft">{escaped(caption)}</figcaption></figure>'


def folded(summary: str, body: str) -> str:
    """Return what a reader opens if they want it."""
    return f"<details><summary>{escaped(summary)}</summary>{body}</details>"


def things_of(numbers: dict[str, Any]) -> str:
    """Return what a row of the predictions is: frames, clips or pictures."""
    return "frames" if numbers["unit"] == "second" else f"{numbers['unit']}s"


def first_and_all(chart: Chart, first: int, caption: str, all_of_them: str) -> str:
    """Return a chart, of which the rows beyond the first so many are folded away."""
    if len(chart.rows) <= first:
        return figure(chart_html(chart), caption)
    shown = f"{caption} Here the first {first}."
    return figure(chart_html(chart, chart.rows[:first]), shown) + folded(all_of_them, chart_html(chart))


def bullet_list(sentences: Iterable[str]) -> str:
    """Return sentences (HTML) as a list."""
    return f"<ul>{''.join(f'<li>{sentence}</li>' for sentence in sentences)}</ul>"


def interval_svg(
    value: float | None, interval: tuple[float, float] | None, chance: float | None, spoken: str
) -> str:
    """Return a value from 0 to 1 as a bar, its interval as a line and chance as a tick."""
    if value is None:
        return ""
    bar = f'<rect class="bar" y="5" width="{100 * value:.2f}%" height="6"/>'
    whisker = ""
    if interval:
        low, high = (100 * bound for bound in interval)
        whisker = f'<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="8" y2="8"/>'
        whisker += "".join(
            f'<line class="whisker" x1="{at:.2f}%" x2="{at:.2f}%" y1="4" y2="12"/>' for at in (low, high)
        )
    tick = (
        ""
        if chance is None
        else f'<line class="chance" x1="{short(100 * chance)}%" x2="{short(100 * chance)}%" y1="0" y2="16"/>'
    )
    return (
        f'<svg class="strip" height="16" role="img" aria-label="{escaped(spoken)}">'
        f'<rect class="track" y="5" width="100%" height="6"/>{bar}{whisker}{tick}</svg>'
    )


def _card(scores: dict[str, Any], headline: Headline) -> str:
    section, name, label = headline.section, headline.name, headline.label
    value, interval = scores[name], interval_of(scores, name)
    chance = scores.get(headline.chance) if headline.chance else None
    facts = []
    if interval:
        facts.append(f"95 % interval {interval_html(scores, headline.key)}")
    if chance is not None:
        facts.append(f"chance {number_html(chance, (section, headline.chance))}")
    better = "" if headline.more_is_better else " Less is better."
    return (
        f"<li><h3>{escaped(label)}</h3><b>{number_html(value, headline.key)}</b>"
        f"{interval_svg(value, interval, chance, f'{label} on a scale from 0 to 1')}"
        f'<p class="facts">{"; ".join(facts)}</p>'
        f'<p class="soft">{escaped(RULES.get(name, ""))}.{better}</p></li>'
    )


def interval_html(scores: dict[str, Any], key: tuple[str, ...]) -> str:
    """Return the interval of the number at `key`, whose last part is its name in `scores`; empty without."""
    interval = interval_of(scores, key[-1])
    if interval is None:
        return ""
    place = (*key[:-1], "ci95", key[-1])
    low, high = (number_html(bound, (*place, str(end))) for end, bound in enumerate(interval))
    return f"{low} to {high}"


def _names(scores: dict[str, Any]) -> Sequence[str]:
    single = [name for name, value in scores.items() if value is None or isinstance(value, float)]
    return [*(name for name in RULES if name in single), *(name for name in single if name not in RULES)]


def _cell(scores: dict[str, Any], place: tuple[str, ...], name: str) -> str:
    value, key = scores[name], (*place, name)
    number = number_html(value, key, 0 if isinstance(value, int) else 3)
    interval = interval_html(scores, key)
    beside = f' <span class="soft">({interval})</span>' if interval else ""
    return f'<td class="number">{number}{beside}</td>'
