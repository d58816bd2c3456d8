# SPDX-License-Identifier: Apache-2.0
"""From predictions to a folder of results; what is written depends on the predictions alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ophclip.evaluate.instrument_scores import instrument_scores
from ophclip.evaluate.phase_scores import phase_scores
from ophclip.evaluate.predictions import NAME, Predictions, save_predictions
from ophclip.evaluate.smoothing import smoothed
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
        scores = self.numbers
        if "settings" in scores:  # of a series, the one that learnt from most
            scores = list(scores["settings"].values())[-1]
        phase, instrument = scores.get("phase", {}), scores.get("instrument", {})
        rule = self.numbers.get("instrument_rule", "prompt_softmax")
        return {
            "phase_accuracy": _mean(phase.get("accuracy.per_video_mean")),
            "phase_chance": _mean(phase.get("accuracy.chance_uniform")),
            "phase_majority": _mean(phase.get("accuracy.chance_majority")),
            "phase_f1": _mean(phase.get("f1.per_video_mean.present")),
            "instrument_map": _mean(instrument.get("map.pooled.defined_classes")),
            "instrument_map_chance": _mean(instrument.get("map.chance_prevalence")),
            "instrument_fpr": _mean(instrument.get(f"fpr.micro.{rule}")),
        }


def _mean(value: Any) -> float | None:
    """Return a number, or the mean of one over seeds."""
    found: float | None = value["mean"] if isinstance(value, dict) else value
    return found


def numbers_of(predictions: Predictions) -> dict[str, Any]:
    """Return the content of `metrics.json`: the facts, and every number with its averaging rule."""
    numbers: dict[str, Any] = {
        **predictions.facts,
        "videos": len(predictions.videos),
        "frames": predictions.num_rows,
        "frames_without_scored_phase": predictions.num_unscored,
    }
    numbers |= _scores(predictions)
    smooth_s = predictions.facts.get("smooth_s", 0.0)
    if smooth_s:
        numbers["smoothed"] = {"seconds": smooth_s, **_scores(smoothed(predictions, smooth_s))}
    published: dict[str, Any] = rounded(numbers)
    return published


def _scores(predictions: Predictions) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    if predictions.phase_names:
        scores["phase"] = phase_scores(predictions)
    if predictions.instrument_names:
        scores["instrument"] = instrument_scores(predictions)
    return scores


def write_results(out: Path, predictions: Predictions) -> Results:
    """Write `predictions.npz`, `metrics.json`, the plots and `report.html`, each whole, into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    save_predictions(out / NAME, predictions)
    return write_scores(out, predictions)


def write_scores(out: Path, predictions: Predictions) -> Results:
    """Write what follows from the predictions: all but themselves."""
    out.mkdir(parents=True, exist_ok=True)
    numbers = write_metrics(out, predictions)
    write_report(out, numbers, predictions)
    return Results(numbers, out)


def write_metrics(out: Path, predictions: Predictions) -> dict[str, Any]:
    """Write `metrics.json` and return its content."""
    numbers = numbers_of(predictions)
    replace_file(out / "metrics.json", (json.dumps(numbers, indent=2, allow_nan=False) + "\n").encode())
    return numbers


def write_report(
    out: Path,
    numbers: dict[str, Any],
    predictions: Predictions,
    *,
    settings: dict[str, Any] | None = None,
) -> None:
    """Write `report.html` and its figures; `settings` are the means of the series that the numbers are of."""
    from ophclip.evaluate.report import render_report

    html, figures = render_report(numbers, predictions, settings=settings)
    plots = out / "plots"
    plots.mkdir(exist_ok=True)
    for name, svg in figures.items():
        replace_file(plots / f"{name}.svg", svg.encode())
    for path in plots.glob("*.svg"):  # of an earlier result; what others put there stays
        if path.stem not in figures and path.stem.startswith(("phase_", "instrument_")):
            path.unlink()
    replace_file(out / "report.html", html.encode())


def rounded(value: Any) -> Any:
    """Return plain JSON types with every number as it is published."""
    if isinstance(value, float):
        return round(value, ROUNDED)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value
