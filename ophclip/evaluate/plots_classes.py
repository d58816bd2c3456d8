# SPDX-License-Identifier: Apache-2.0
"""One bar a class, the best first, with how often it occurs."""

from __future__ import annotations

from typing import Any

from ophclip.evaluate.plots import Axis, Chart, Row, format_number, readable
from ophclip.evaluate.plots_runs import BOX, short
from ophclip.evaluate.plots_words import escaped

HEIGHT = 14
AXIS = [(share / 4, f"{share / 4:g}") for share in range(5)]


def bar_chart(
    section: str,
    scores: dict[str, dict[str, Any]],
    metric: str,
    title: str,
    *,
    chance: str = "",
    numbered: bool = False,
) -> Chart:
    """Return one bar a class of `scores`, by falling value; a class without a value comes last, as n/a.

    `chance` names the score that a tick marks on each bar. `section` is that of metrics.json.
    """
    numbers = {name: index + 1 for index, name in enumerate(scores)}

    def rank(name: str) -> tuple[bool, float, int]:
        value = scores[name][metric]
        return value is None, -(value or 0.0), numbers[name]

    rows = []
    for name in sorted(scores, key=rank):
        own = scores[name]
        rows.append(
            Row(
                name=f"{numbers[name]} {readable(name)}" if numbered else readable(name),
                detail=f"{own['frames']:,}",
                marks=_bar(name, own, metric, chance),
                value=own[metric],
                key=(section, "by_class", name, metric),
            )
        )
    return Chart(rows, HEIGHT, Axis(AXIS, title))


def _bar(name: str, scores: dict[str, Any], metric: str, chance: str) -> str:
    value, guessed = scores[metric], scores[chance] if chance else None
    told = ", ".join(
        f"{readable(key)} {format_number(number) if isinstance(number, float) else number}"
        for key, number in scores.items()
        if number is not None and not isinstance(number, list | dict)
    )
    bar = f'<rect class="bar" y="2" width="{short(BOX * (value or 0.0))}" height="{HEIGHT - 4}"/>'
    tick = (
        f'<rect class="mark" x="{short(BOX * guessed - 1.5)}" width="3" height="{HEIGHT}"/>'
        if guessed is not None
        else ""
    )
    interval = scores.get("ci95", {}).get(metric)
    if interval:
        low, high = (BOX * bound for bound in interval)
        tick += f'<rect class="mark" x="{short(low)}" y="6.3" width="{short(high - low)}" height="1.4"/>'
    title = f"<title>{escaped(readable(name))}: {escaped(told)}</title>"
    return f'<g><rect class="track" y="2" width="{BOX}" height="{HEIGHT - 4}"/>{bar}{tick}{title}</g>'
