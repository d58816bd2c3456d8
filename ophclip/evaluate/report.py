# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that works offline, prints, and says how every number was averaged.

Every number stands in a `<data>` element with its exact value and its place in metrics.json, so that a
program can hold the one against the other. There is no script, and the page may load nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ophclip.evaluate.plots import format_number as format_number
from ophclip.evaluate.plots import number_html
from ophclip.evaluate.plots_colours import fill_css, fill_defs
from ophclip.evaluate.plots_phases import seen_labels
from ophclip.evaluate.plots_words import escaped
from ophclip.evaluate.predictions import Predictions
from ophclip.evaluate.report_headlines import headlines_of
from ophclip.evaluate.report_instruments import instrument_section
from ophclip.evaluate.report_parts import bullet_list, cards, metric_table
from ophclip.evaluate.report_phases import phase_section
from ophclip.evaluate.report_provenance import provenance

STYLESHEET = Path(__file__).with_name("report.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render_report(
    numbers: dict[str, Any], predictions: Predictions, *, settings: dict[str, Any] | None = None
) -> tuple[str, dict[str, str]]:
    """Return the report of `numbers` (the content of metrics.json) as HTML, and its figures as SVG files.

    `settings` are the means over seeds of a series of probes, of which `numbers` are one.
    """
    phases, phase_figures = phase_section(numbers, predictions)
    instruments, instrument_figures = instrument_section(numbers, predictions)
    labels = seen_labels(predictions) if "phase" in numbers else []
    body = (
        f"{_head(numbers)}{cards(numbers)}{_series(settings or {})}{phases}{instruments}"
        f"<h2>All numbers</h2>{metric_table(numbers)}{_smoothed(numbers)}{_notes(numbers)}"
        f"{provenance(numbers)}"
    )
    return page(f"ophclip: {numbers['dataset']}", body, labels), {**phase_figures, **instrument_figures}


def page(title: str, body: str, labels: list[int]) -> str:
    """Return a whole page around `body`, with the fills of the classes `labels`."""
    style = STYLESHEET.read_text(encoding="utf-8") + fill_css(labels)
    defs = fill_defs(labels)
    hidden = f'<svg class="defs" width="0" height="0" aria-hidden="true">{defs}</svg>' if defs else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escaped(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style></head><body>{hidden}{body}</body></html>\n"
    )


def _head(numbers: dict[str, Any]) -> str:
    kind = str(numbers["protocol"]).partition("/")[0].capitalize()
    scored = _amount(numbers)
    if numbers["videos"] != numbers["frames"]:
        scored = f"{numbers['videos']:,} videos, {scored}"
    return (
        f"<h1>{escaped(kind)} evaluation on {escaped(numbers['dataset'])}</h1>"
        f'<p class="lead">{escaped(scored)}. {escaped(_learnt(numbers))}</p>'
    )


def _learnt(numbers: dict[str, Any]) -> str:
    if numbers["prompts"] is not None:
        return "The model compares what it sees with sentences; it learns no labels of this dataset."
    videos, setting, seed = len(numbers["train_videos"]), numbers["setting"], numbers["seed"]
    return f"A logistic regression has learnt from {videos:,} other videos ({setting}, seed {seed})."


def _amount(numbers: dict[str, Any]) -> str:
    frames, unit = numbers["frames"], numbers["unit"]
    if unit != "second":
        return f"{frames:,} {unit}s"
    minutes = frames / numbers["fps"] / 60
    length = f"{minutes / 60:.1f} hours" if minutes >= 120 else f"{minutes:.1f} minutes"
    return f"{length} in {frames:,} frames, {numbers['fps']:g} a second"


def _series(settings: dict[str, Any]) -> str:
    """Return the headlines of all settings: mean and standard deviation over seeds."""
    if not settings:
        return ""
    first = next(iter(settings.values()))
    head = "".join(f"<th>{escaped(name)}</th>" for name in settings)
    rows = []
    for headline in headlines_of(first):
        cells = "".join(
            f'<td class="number">{_over_seeds(told, (name, *headline.key))}</td>'
            for name, told in settings.items()
        )
        rows.append(f"<tr><td>{escaped(headline.label)}</td>{cells}</tr>")
    videos = "".join(f'<td class="number">{_few(told["train_videos"])}</td>' for told in settings.values())
    return (
        "<h2>From few labels to many</h2><p>Means over seeds, with the standard deviation where there are "
        "several. The rest of this report is of the last setting, under its first seed.</p>"
        f'<div class="scroll"><table><tr><th></th>{head}</tr>{"".join(rows)}'
        f"<tr><td>videos learnt from</td>{videos}</tr></table></div>"
    )


def _over_seeds(told: dict[str, Any], place: tuple[str, str, str]) -> str:
    key, scores = ("settings", *place), told[place[1]][place[2]]
    mean = number_html(scores["mean"], (*key, "mean"))
    if scores["sd"] is None:
        return mean
    return f'{mean} <span class="soft">({number_html(scores["sd"], (*key, "sd"))})</span>'


def _few(counts: list[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _smoothed(numbers: dict[str, Any]) -> str:
    if "smoothed" not in numbers:
        return ""
    seconds = f"{numbers['smoothed']['seconds']:g}"
    return (
        f"<h3>After smoothing over {seconds} seconds</h3>"
        "<p>Reported apart: smoothing uses what comes later, and all numbers above are without it.</p>"
        f"{metric_table(numbers, ('smoothed',))}"
    )


def _notes(numbers: dict[str, Any]) -> str:
    notes = [escaped(str(note)) for note in numbers["notes"]]
    return f"<h2>Notes</h2>{bullet_list(notes)}" if notes else ""
