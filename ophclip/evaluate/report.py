# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that works offline, prints, and says how every number was averaged."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ophclip.evaluate import plots
from ophclip.evaluate.predictions import Predictions, VideoPrediction
from ophclip.evaluate.report_rules import RULES

STYLESHEET = Path(__file__).with_name("report.css")


def render_report(numbers: dict[str, Any], predictions: Predictions) -> tuple[str, dict[str, str]]:
    """Return the report of `numbers` (the content of metrics.json) as HTML, and its figures as SVG."""
    body = _head(numbers)
    figures: dict[str, str] = {}
    for section in (_phase_section, _instrument_section):
        text, drawn = section(numbers, predictions)
        body += text
        figures |= drawn
    title = f"ophclip: {numbers['dataset']}"
    html = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLESHEET.read_text(encoding='utf-8')}</style></head>"
        f"<body>{body}{_foot(numbers)}</body></html>\n"
    )
    return html, figures


def format_number(value: float | None) -> str:
    """Return a score as the report and the terminal show it."""
    return "n/a" if value is None else f"{value:.3f}"


Section = tuple[str, dict[str, str]]  # HTML, and its figures by name


def _phase_section(numbers: dict[str, Any], predictions: Predictions) -> Section:
    if "phase" not in numbers:
        return "", {}
    phase = numbers["phase"]
    figures = {
        "phase_ribbons": plots.ribbon_figure(predictions.videos, predictions.phase_names, numbers["fps"]),
        "phase_classes": plots.class_figure(phase["by_class"], "f1", "F1, pooled over all frames"),
        "phase_confusion": plots.confusion_figure(phase["confusion"], predictions.phase_names),
    }
    captions = [
        f"{_number_drawn(predictions.videos, plots.MAX_RIBBONS)}: phases over time.",
        "F1 of each phase over all frames (number of frames).",
        "Confusion: where the frames of each phase went.",
    ]
    return _section("Phase recognition", phase, "", figures, captions)


def _instrument_section(numbers: dict[str, Any], predictions: Predictions) -> Section:
    if "instrument" not in numbers:
        return "", {}
    found = numbers["instrument"]
    label = "average precision, pooled over all frames"
    names, fps = predictions.instrument_names, numbers["fps"]
    figures = {
        "instrument_classes": plots.class_figure(found["by_class"], "average_precision", label, "chance"),
        "instrument_timelines": plots.instrument_figure(predictions.videos, names, fps),
    }
    captions = [
        "Average precision of each instrument (number of frames); the line is chance.",
        f"{_number_drawn(predictions.videos, plots.MAX_TIMELINES)}: "
        "instruments in view (orange), their probability (blue).",
    ]
    note = f"An instrument counts as present by the rule: {found['fpr_rule']}."
    return _section("Instrument recognition", found, note, figures, captions)


def _section(
    title: str, scores: dict[str, Any], note: str, figures: dict[str, str], captions: list[str]
) -> Section:
    drawn = "".join(map(_figure, figures.values(), captions))
    noted = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<h2>{escape(title)}</h2>{_table(scores)}{noted}{drawn}", figures


def _number_drawn(predictions: Sequence[VideoPrediction], most: int) -> str:
    count = len(predictions)
    return f"All {count} videos" if count <= most else f"The first {most} of {count} videos"


def _head(numbers: dict[str, Any]) -> str:
    cards = []
    if "phase" in numbers:
        phase = numbers["phase"]
        cards.append(
            _card("phase accuracy", phase["accuracy.per_video_mean"], phase["accuracy.chance_uniform"])
        )
    if "instrument" in numbers:
        found = numbers["instrument"]
        cards.append(
            _card("instrument mAP", found["map.pooled.defined_classes"], found["map.chance_prevalence"])
        )
    is_zero_shot = numbers["prompts"] is not None
    how = "frames are compared with sentences, no labels are learnt" if is_zero_shot else _learnt(numbers)
    notes = "; ".join([how, *numbers["notes"]])
    return (
        f"<h1>{'Zero-shot evaluation' if is_zero_shot else 'Probe'} on {escape(numbers['dataset'])}</h1>"
        f'<p class="lead">{numbers["videos"]} videos, {numbers["frames"]} frames, '
        f"{numbers['fps']:g} a second; {escape(notes)}.</p>"
        f'<ul class="headline">{"".join(cards)}</ul>'
    )


def _learnt(numbers: dict[str, Any]) -> str:
    videos, setting = len(numbers["train_videos"]), numbers["setting"]
    return f"a logistic regression learnt from {videos} other videos ({setting}, seed {numbers['seed']})"


def _card(label: str, value: float | None, chance: float | None) -> str:
    shown, guessed = format_number(value), format_number(chance)
    return f'<li><b>{shown}</b>{label}<br><span class="note">chance {guessed}</span></li>'


def _table(scores: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{name}</code></td>"
        f'<td class="number">{format_number(scores[name])}</td><td>{rule}</td></tr>'
        for name, rule in RULES.items()
        if name in scores
    ]
    return f"<table><tr><th>metric</th><th>value</th><th>how it is averaged</th></tr>{''.join(rows)}</table>"


def _figure(svg: str, caption: str) -> str:
    labelled = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(caption)}" ', 1)
    return f'<figure>{labelled}<figcaption class="note">{escape(caption)}</figcaption></figure>'


def _foot(numbers: dict[str, Any]) -> str:
    return (
        f"<footer>Protocol <code>{escape(numbers['protocol'])}</code>; "
        f"weights <code>{escape(numbers['weights'])}</code>; "
        f"{_prompts(numbers['prompts'])}"
        f"data sha256 <code>{numbers['data_sha256']}</code>. "
        f"Dataset: {escape(numbers['source'])}, {escape(numbers['licence'])}. "
        "All numbers stand in metrics.json beside this file, the predictions in predictions.npz.</footer>"
    )


def _prompts(prompts: dict[str, Any] | None) -> str:
    if prompts is None:
        return ""
    return (
        f"prompts <code>{escape(prompts['file'])}</code> version {prompts['version']} "
        f"({escape(prompts['variant'])}), sha256 <code>{prompts['sha256']}</code>; "
    )
