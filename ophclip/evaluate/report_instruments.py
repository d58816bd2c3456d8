# SPDX-License-Identifier: Apache-2.0
"""The report's section on instruments: average precisions, false reports and timelines."""

from __future__ import annotations

from typing import Any

from ophclip.evaluate import plots
from ophclip.evaluate.plots_classes import bar_chart
from ophclip.evaluate.plots_instruments import mistakes, timeline_chart
from ophclip.evaluate.plots_phases import worst_first
from ophclip.evaluate.plots_words import escaped
from ophclip.evaluate.predictions import Predictions, VideoPrediction
from ophclip.evaluate.report_headlines import headlines_of
from ophclip.evaluate.report_parts import bullet_list, class_table, figure, folded, things_of

EXAMPLES = 2  # of the worst videos, and of the best, that are shown before the rest is unfolded
MOST_BYTES = 1 << 20  # of the folded timelines: beyond it, videos are left to predictions.npz

Section = tuple[str, dict[str, str]]  # HTML, and its figures by name

CAPTION = (
    "Each instrument is two lines: above when it is in view (grey), below when the model says so: rightly "
    "(blue) or falsely (orange). Grey without blue below it was missed."
)


def instrument_section(numbers: dict[str, Any], predictions: Predictions) -> Section:
    """Return the section, empty where the dataset has no instruments."""
    if "instrument" not in numbers:
        return "", {}
    found = numbers["instrument"]
    things = things_of(numbers)
    title = f"average precision, all {things} together"
    bars = bar_chart("instrument", found["by_class"], "average_precision", title, chance="chance")
    timelines, pictures = _timelines(predictions)
    body = (
        f"<h2>Instruments</h2>{bullet_list(_words(numbers))}"
        "<h3>Each instrument</h3>"
        + figure(
            plots.chart_html(bars),
            "Average precision, the best first; the line is its 95 % interval, the tick is chance. "
            f"Behind each name stands the number of {things} that show it.",
        )
        + class_table("instrument", found["by_class"])
        + f"<h3>{'Picture by picture' if numbers['unit'] == 'picture' else 'Over time'}</h3>{timelines}"
    )
    return body, {"instrument_classes": plots.chart_svg(bars), **pictures}


def _words(numbers: dict[str, Any]) -> list[str]:
    found, words = numbers["instrument"], []
    name = next(headline.name for headline in headlines_of(numbers) if headline.name.startswith("fpr."))
    if found[name] is not None:
        shown = plots.number_html(found[name], ("instrument", name), 0, scale=100)
        words.append(
            f"Of every 100 times that an instrument is not in view, the model reports it {shown} times."
        )
    score, chance = found["map.pooled.defined_classes"], found["map.chance_prevalence"]
    if score is not None:
        shown = plots.number_html(score, ("instrument", "map.pooled.defined_classes"), 2)
        guess = plots.number_html(chance, ("instrument", "map.chance_prevalence"), 2)
        words.append(
            f"Ranked by how sure the model is, mean average precision is {shown}; "
            f"a random order gives {guess}."
        )
    absent = [name for name, own in found["by_class"].items() if own["average_precision"] is None]
    if absent:
        listed = escaped(", ".join(map(plots.readable, absent)))
        words.append(f"Never in view, so without a score (n/a) and in no mean: {listed}.")
    words.append(f"An instrument counts as reported by the rule: {escaped(found['fpr_rule'])}.")
    return words


def _timelines(predictions: Predictions) -> Section:
    wrong = {video.video_id: mistakes(video) for video in predictions.videos}
    right = {name: None if share is None else 1 - share for name, share in wrong.items()}
    ordered = worst_first(predictions.videos, right)
    drawn = {video.video_id: timeline_chart(video, predictions) for video in ordered}
    if len(ordered) <= 2 * EXAMPLES:
        shown, rest = ordered, []
    else:
        shown, rest = [*ordered[:EXAMPLES], *reversed(ordered[-EXAMPLES:])], ordered[EXAMPLES:-EXAMPLES]
    note = f"{CAPTION} First the {EXAMPLES} videos with most mistakes, then the {EXAMPLES} with fewest."
    html = figure("".join(_timeline(video, drawn) for video in shown), note if rest else CAPTION)
    kept, size = [], 0
    for video in rest:
        size += sum(len(row.marks) for row in drawn[video.video_id].rows)
        if size > MOST_BYTES:
            break
        kept.append(video)
    if rest:
        more = f"{len(kept)} more videos"
        if len(kept) < len(rest):
            more += f"; {len(rest) - len(kept)} do not fit in this file, predictions.npz has them"
        html += folded(more, "".join(_timeline(video, drawn) for video in kept))
    pictures = {
        f"instrument_timeline_{index}": plots.chart_svg(drawn[video.video_id])
        for index, video in enumerate(shown, start=1)
    }
    return html, pictures


def _timeline(video: VideoPrediction, drawn: dict[str, plots.Chart]) -> str:
    chart = drawn[video.video_id]
    if not chart.rows:
        return f"<h4>{escaped(video.video_id)}</h4><p>No instrument is in view, and none is reported.</p>"
    return f"<h4>{escaped(video.video_id)}</h4>{plots.chart_html(chart)}"
