# SPDX-License-Identifier: Apache-2.0
"""The table of an ablation from the results of its cells: means and spreads over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablation_cells import Cell

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # of a cell, one a seed

BEGIN, END = "<!-- table: made by `make ablation` -->", "<!-- end of table -->"
COLUMNS = {
    "phase_accuracy": "phase acc.",
    "phase_accuracy_rare": "phase acc., rare operations",
    "phase_accuracy_common": "phase acc., common ones",
    "phase_f1": "phase F1",
    "instrument_map": "instrument mAP",
    "operation_accuracy": "operation acc.",
    "operation_accuracy_rare": "operation acc., rare ones",
}

GAINS = {
    name: COLUMNS[name]
    for name in ("phase_accuracy", "instrument_map", "operation_accuracy", "operation_accuracy_rare")
}


def render(cells: Sequence[Cell], results: Results) -> str:
    """Return a Markdown table in percent, `mean ± standard deviation`; cells without results have no row."""
    lines = [
        f"| | {' | '.join(COLUMNS.values())} | seeds |",
        f"|---|{'---|' * (len(COLUMNS) + 1)}",
    ]
    for cell in cells:
        runs = results.get(cell.name, [])
        if runs:
            numbers = (percent([run["scores"][name] for run in runs]) for name in COLUMNS)
            lines.append(f"| {cell.label} | {' | '.join(numbers)} | {len(runs)} |")
    return "\n".join(lines)


def render_gains(cells: Sequence[Cell], results: Results, baseline: Cell) -> str:
    """Return a table of the gains over `baseline` in points, `mean ± standard error`, paired by seed."""
    compared = [cell for cell in cells if results.get(cell.name) and cell != baseline]
    if not compared or not results.get(baseline.name):
        return ""
    lines = [f"| over {baseline.label} | {' | '.join(GAINS.values())} |", f"|---|{'---|' * len(GAINS)}"]
    for cell in compared:
        gains = (gain(results, cell.name, baseline.name, score) for score in GAINS)
        shown = (f"{100 * mean:+.1f} ± {100 * error:.1f}" for mean, error, _ in gains)
        lines.append(f"| {cell.label} | {' | '.join(shown)} |")
    return "\n".join(lines)


def percent(values: Sequence[float]) -> str:
    """Return the mean of fractions in percent and, of two or more, their sample standard deviation."""
    mean = 100 * statistics.mean(values)
    return f"{mean:.1f} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"


def gain(results: Results, name: str, baseline: str, score: str) -> tuple[float, float, int]:
    """Return by how much a cell exceeds another, paired by seed: mean, standard error, pairs."""
    others = {run["seed"]: run["scores"][score] for run in results[baseline]}
    gains = [run["scores"][score] - others[run["seed"]] for run in results[name] if run["seed"] in others]
    error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
    return statistics.mean(gains), error, len(gains)


def put_into(document: Path, table: str) -> None:
    """Replace what stands between the marks of a document.

    Raises:
        ValueError: the document has no marks.
    """
    text = document.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{document} must hold the lines {BEGIN} and {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    document.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
