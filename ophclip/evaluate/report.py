# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that works offline, prints, and says how every number was averaged."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ophclip.evaluate import plots
from ophclip.evaluate.datasets import Dataset
from ophclip.evaluate.scores import VideoPrediction

STYLESHEET = Path(__file__).with_name("report.css")

RULES = {
    "accuracy.per_video_mean": "Share of scored frames that are right in each video, averaged over videos",
    "accuracy.pooled": "Share of scored frames that are right, all videos together",
    "accuracy.chance_uniform": "What guessing each phase equally often would reach",
    "accuracy.chance_majority": "What always naming the most frequent phase would reach",
    "f1.per_video_mean.present": "Macro-F1 over phases true or predicted in a video, averaged over videos",
    "f1.pooled.present": "Macro-F1 over phases true or predicted, all videos together",
    "f1.pooled.all": "Macro-F1 over all phases, all videos together; absent ones count as 0",
    "precision.pooled.present": "Macro precision, all videos together",
    "recall.pooled.present": "Macro recall, all videos together",
    "jaccard.pooled.present": "Macro Jaccard index, all videos together",
    "map.pooled.defined_classes": "Mean average precision over instruments that occur, all frames together",
    "map.chance_prevalence": "What a random ranking would reach: the mean share of frames with an instrument",
    "fpr.micro.prompt_softmax": "Share of absent instruments reported as present, all classes together",
    "fpr.macro.prompt_softmax": "The same for each instrument, averaged",
    "fpr.macro.at_95_recall": "The same at the threshold that finds 95 % of an instrument's frames, averaged",
}


def render_report(
    numbers: dict[str, Any], data: Dataset, predictions: Sequence[VideoPrediction], plots_folder: Path
) -> str:
    """Return the report of `numbers` (the content of metrics.json); its figures go to `plots_folder` too."""
    figures = _figures(numbers, data, predictions)
    plots_folder.mkdir(exist_ok=True)
    for name, svg in figures.items():
        (plots_folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    body = [_head(numbers, data)]
    if "phase" in numbers:
        body += [
            "<h2>Phase recognition</h2>",
            _table(numbers["phase"]),
            _figure(figures["phase_ribbons"], "Phases over time, one row a video."),
            _figure(figures["phase_classes"], "F1 of each phase over all frames (number of frames)."),
            _figure(figures["phase_confusion"], "Confusion: where the frames of each phase went."),
        ]
    if "instrument" in numbers:
        drawn = min(len(predictions), plots.MAX_TIMELINES)
        rule = escape(numbers["instrument"]["fpr_rule"])
        body += [
            "<h2>Instrument recognition</h2>",
            _table(numbers["instrument"]),
            f'<p class="note">An instrument counts as present by the rule: {rule}.</p>',
            _figure(
                figures["instrument_classes"], "Average precision of each instrument; the line is chance."
            ),
            _figure(
                figures["instrument_timelines"],
                f"The first {drawn} of {len(predictions)} videos: in view (orange), probability (blue).",
            ),
        ]
    body.append(_foot(numbers, data))
    title = f"ophclip: {data.name}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLESHEET.read_text()}</style></head><body>{''.join(body)}</body></html>\n"
    )


def format_number(value: float | None) -> str:
    """Return a score as the report and the terminal show it."""
    return "n/a" if value is None else f"{value:.3f}"


def _figures(
    numbers: dict[str, Any], data: Dataset, predictions: Sequence[VideoPrediction]
) -> dict[str, str]:
    figures = {}
    if "phase" in numbers:
        phase = numbers["phase"]
        figures["phase_ribbons"] = plots.ribbon_figure(predictions, data.phase_names, data.fps)
        figures["phase_classes"] = plots.class_figure(phase["by_class"], "f1", "F1, pooled over all frames")
        figures["phase_confusion"] = plots.confusion_figure(phase["confusion"], data.phase_names)
    if "instrument" in numbers:
        by_class = numbers["instrument"]["by_class"]
        label = "average precision, pooled over all frames"
        figures["instrument_classes"] = plots.class_figure(by_class, "average_precision", label, "chance")
        figures["instrument_timelines"] = plots.instrument_figure(
            predictions, data.instrument_names, data.fps
        )
    return figures


def _head(numbers: dict[str, Any], data: Dataset) -> str:
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
    notes = "; ".join(numbers["notes"])
    return (
        f"<h1>Zero-shot evaluation on {escape(data.name)}</h1>"
        f'<p class="lead">{numbers["videos"]} videos, {numbers["frames"]} frames, '
        f"{numbers['fps']:g} a second; "
        f"nothing was trained on these videos; {escape(notes)}.</p>"
        f'<ul class="headline">{"".join(cards)}</ul>'
    )


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
    return f'<figure>{svg}<figcaption class="note">{escape(caption)}</figcaption></figure>'


def _foot(numbers: dict[str, Any], data: Dataset) -> str:
    prompts = numbers["prompts"]
    return (
        f"<footer>Protocol <code>{escape(numbers['protocol'])}</code>; "
        f"weights <code>{escape(numbers['weights'])}</code>; "
        f"prompts <code>{escape(prompts['file'])}</code> version {prompts['version']} "
        f"({escape(prompts['variant'])}), sha256 <code>{prompts['sha256']}</code>; "
        f"data sha256 <code>{numbers['data_sha256']}</code>. "
        f"Dataset: {escape(data.source)}, {escape(data.licence)}. "
        "All numbers stand in metrics.json beside this file, the predictions in predictions.npz.</footer>"
    )
