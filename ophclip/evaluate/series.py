# SPDX-License-Identifier: Apache-2.0
"""A series of results, one a setting and seed, and the summary of their numbers over seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ophclip.errors import UsageError
from ophclip.evaluate.predictions import NAME, Predictions, load_predictions, save_predictions
from ophclip.evaluate.results import Results, rounded, write_metrics, write_report
from ophclip.files import replace_file

OWN = ("setting", "seed", "train_videos", "train_rows", "chosen", "classes_without_training")


def write_series(out: Path, series: Iterable[Predictions]) -> Results:
    """Write each result into `out/<setting>/seed-<n>`, their summary and a report into `out`.

    The report is that of the last setting under its first seed; `rescore` makes that of any other.
    """
    written: list[tuple[str, Predictions, dict[str, Any]]] = []
    for predictions in series:
        part = _part(predictions)
        (out / part).mkdir(parents=True, exist_ok=True)
        save_predictions(out / part / NAME, predictions)
        written.append((part, predictions, write_metrics(out / part, predictions)))
    _remove_others(out, {part for part, _, _ in written})
    return _write_summary(out, written)


def stored_series(folder: Path) -> list[Path]:
    """Return the predictions files of a series in a folder; none where it holds a single result."""
    return sorted(folder.glob(f"*/seed-*/{NAME}"))


def rescore_series(source: Path, out: Path) -> Results:
    """Compute the numbers of each stored result, the summary and the report again."""
    loaded = [load_predictions(path) for path in stored_series(source)]
    loaded.sort(key=lambda predictions: (_number(predictions), predictions.facts["seed"]))
    written = []
    for predictions in loaded:
        part = _part(predictions)
        (out / part).mkdir(parents=True, exist_ok=True)
        written.append((part, predictions, write_metrics(out / part, predictions)))
    return _write_summary(out, written)


def _part(predictions: Predictions) -> str:
    return f"{predictions.facts['setting']}/seed-{predictions.facts['seed']}"


def _number(predictions: Predictions) -> float:
    return float(str(predictions.facts["setting"]).rpartition("-")[2])


def _remove_others(out: Path, parts: set[str]) -> None:
    """Remove the predictions of earlier settings: a summary is of all that lie there."""
    for path in stored_series(out):
        if path.parent.relative_to(out).as_posix() not in parts:
            path.unlink()
            (path.parent / "metrics.json").unlink(missing_ok=True)


def _write_summary(out: Path, written: Sequence[tuple[str, Predictions, dict[str, Any]]]) -> Results:
    if not written:
        raise UsageError(f"{out} holds no results", remedy="run the evaluation again")
    names = list(dict.fromkeys(predictions.facts["setting"] for _, predictions, _ in written))
    facts = {name: value for name, value in written[0][1].facts.items() if name not in OWN}
    settings = {
        name: summary_of([numbers for _, p, numbers in written if p.facts["setting"] == name])
        for name in names
    }
    numbers = rounded({**facts, "settings": settings})
    replace_file(out / "metrics.json", (json.dumps(numbers, indent=2, allow_nan=False) + "\n").encode())
    shown = next(part for part in written if part[1].facts["setting"] == names[-1])
    write_report(out, shown[2], shown[1], settings=numbers["settings"])
    return Results(numbers, out)


def summary_of(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean, standard deviation (of a sample) and values over seeds of every number of each task."""
    summary: dict[str, Any] = {
        "seeds": [numbers["seed"] for numbers in results],
        "train_videos": [len(numbers["train_videos"]) for numbers in results],
        "chosen": [{task: told["C"] for task, told in numbers["chosen"].items()} for numbers in results],
    }
    for task in ("phase", "instrument"):
        if task in results[0]:
            names = list(results[0][task]["ci95"])
            summary[task] = {name: _over_seeds([part[task][name] for part in results]) for name in names}
    return summary


def _over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    defined = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(defined)) if defined else None,
        "sd": float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
        "by_seed": list(values),
    }
