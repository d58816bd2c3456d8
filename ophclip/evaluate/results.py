# SPDX-License-Identifier: Apache-2.0
"""From predictions to a folder of results; what is written depends on the predictions alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ophclip.evaluate.instrument_scores import instrument_scores
from ophclip.evaluate.phase_scores import phase_scores
from ophclip.evaluate.predictions import NAME, Predictions, load_predictions, save_predictions
from ophclip.files import replace_file

ROUNDED = 6  # decimals of a published number: more would differ between machines


@dataclass(frozen=True)
class Results:
    """The numbers of an evaluation (also in `metrics.json`) and the files beside them."""

    numbers: dict[str, Any]
    out: Path

    @property
    def report(self) -> Path:
        """The HTML report: one file that works offline."""
        return self.out / "report.html"

    def summary(self) -> dict[str, Any]:
        """Return the headline numbers under the names of the command line's JSON."""
        phase, instrument = self.numbers.get("phase", {}), self.numbers.get("instrument", {})
        return {
            "phase_accuracy": phase.get("accuracy.per_video_mean"),
            "phase_chance": phase.get("accuracy.chance_uniform"),
            "phase_majority": phase.get("accuracy.chance_majority"),
            "phase_f1": phase.get("f1.per_video_mean.present"),
            "instrument_map": instrument.get("map.pooled.defined_classes"),
            "instrument_map_chance": instrument.get("map.chance_prevalence"),
            "instrument_fpr": instrument.get("fpr.micro.prompt_softmax"),
        }


def numbers_of(predictions: Predictions) -> dict[str, Any]:
    """Return the content of `metrics.json`: the facts, and every number with its averaging rule."""
    numbers: dict[str, Any] = {
        **predictions.facts,
        "videos": len(predictions.videos),
        "frames": predictions.num_rows,
        "frames_without_scored_phase": predictions.num_unscored,
    }
    if predictions.phase_names:
        numbers["phase"] = phase_scores(predictions)
    if predictions.instrument_names:
        numbers["instrument"] = instrument_scores(predictions)
    rounded: dict[str, Any] = _rounded(numbers)
    return rounded


def write_results(out: Path, predictions: Predictions) -> Results:
    """Write `predictions.npz`, `metrics.json`, the plots and `report.html`, each whole, into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    save_predictions(out / NAME, predictions)
    return write_scores(out, predictions)


def write_scores(out: Path, predictions: Predictions) -> Results:
    """Write what follows from the predictions: all but themselves."""
    numbers = numbers_of(predictions)
    out.mkdir(parents=True, exist_ok=True)
    replace_file(out / "metrics.json", (json.dumps(numbers, indent=2, allow_nan=False) + "\n").encode())
    results = Results(numbers, out)
    _report(results, predictions)
    return results


def rescore(source: Path, out: Path | None = None) -> Results:
    """Compute metrics, plots and report again from stored predictions: no model, no data.

    `source` is a folder of results or a predictions file; what is written goes beside it, or into `out`.

    Raises:
        UsageError: there are no predictions.
        DamageError: they are damaged.
    """
    predictions = load_predictions(source)
    return write_scores(out or (source if source.is_dir() else source.parent), predictions)


def _report(results: Results, predictions: Predictions) -> None:
    from ophclip.evaluate.report import render_report

    html, figures = render_report(results.numbers, predictions)
    plots = results.out / "plots"
    plots.mkdir(exist_ok=True)
    for name, svg in figures.items():
        replace_file(plots / f"{name}.svg", svg.encode())
    replace_file(results.report, html.encode())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, ROUNDED)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
