# SPDX-License-Identifier: Apache-2.0
"""Several folders of results side by side: one table over all datasets, and paired tests over videos."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ophclip.errors import DamageError, UsageError
from ophclip.evaluate.compare_flips import FEW_VIDEOS, holm, paired_test
from ophclip.evaluate.compare_outcome import Cell, Column, Comparison, Pair
from ophclip.evaluate.compare_results import Result, load_results
from ophclip.evaluate.compare_videos import FALSE_REPORTS, VideoMetric, video_values
from ophclip.evaluate.predictions import Predictions, load_predictions
from ophclip.evaluate.report_headlines import headlines_of


def compare(folders: Sequence[str], *, seed: int = 0) -> Comparison:
    """Compare two or more folders of results; a folder may be given as NAME=FOLDER.

    Results of one run on several datasets make one row. Runs on the same dataset are tested pair by pair,
    over its videos. `seed` is that of the bootstrap, and of the test where there are many videos.

    Raises:
        UsageError: fewer than two, something that is no result, or one dataset with different data.
        DamageError: a result is damaged, or its files do not belong together.
    """
    results = load_results(folders)
    _refuse_different_data(results)
    columns = _columns(results)
    runs = list(dict.fromkeys(result.run for result in results))
    by_place = {(result.run, result.dataset): result for result in results}
    table = [[_cell(by_place.get((run, column.dataset)), column) for column in columns] for run in runs]
    pairs = list(_pairs(results, seed))
    comparison = Comparison(runs, columns, _with_best(table, columns), pairs, results)
    return replace(comparison, notes=_notes(comparison))


def _refuse_different_data(results: Sequence[Result]) -> None:
    first: dict[str, Result] = {}
    for result in results:
        other = first.setdefault(result.dataset, result)
        if other.data_sha256 != result.data_sha256:
            raise UsageError(
                f"{other.folders[0]} and {result.folders[0]} are not comparable: both are of "
                f"{result.dataset}, but with different videos, labels or classes (data sha256 "
                f"{other.data_sha256[:12]} and {result.data_sha256[:12]})",
                remedy="evaluate both on the same download, split and background, then compare",
            )


def _columns(results: Sequence[Result]) -> list[Column]:
    columns = [
        Column(result.dataset, headline) for result in results for headline in headlines_of(result.numbers)
    ]
    datasets = list(dict.fromkeys(result.dataset for result in results))
    return sorted(dict.fromkeys(columns), key=lambda column: datasets.index(column.dataset))


def _cell(result: Result | None, column: Column) -> Cell | None:
    section, name = column.headline.key
    scores = {} if result is None else result.numbers.get(section, {})
    if name not in scores:
        return None
    bounds = scores.get("ci95", {}).get(name)
    return Cell(scores[name], None if bounds is None else (bounds[0], bounds[1]))


def _with_best(table: list[list[Cell | None]], columns: Sequence[Column]) -> list[list[Cell | None]]:
    marked = [list(row) for row in table]
    for index, column in enumerate(columns):
        values = [cell.value for row in table if (cell := row[index]) and cell.value is not None]
        if len(values) < 2:
            continue
        best = max(values) if column.headline.more_is_better else min(values)
        for row in marked:
            cell = row[index]
            if cell and cell.value == best:
                row[index] = Cell(cell.value, cell.ci95, best=True)
    return marked


def _pairs(results: Sequence[Result], seed: int) -> Iterator[Pair]:
    for dataset in dict.fromkeys(result.dataset for result in results):
        members = [result for result in results if result.dataset == dataset]
        if len(members) < 2:
            continue
        loaded = [_values(result) for result in members]
        for metric in loaded[0]:
            couples = list(itertools.combinations(range(len(members)), 2))
            tests = [paired_test(loaded[a][metric], loaded[b][metric], seed=seed) for a, b in couples]
            corrected = holm([test.p for test in tests])
            for (a, b), test, p_holm in zip(couples, tests, corrected, strict=True):
                yield Pair(dataset, metric, members[a].run, members[b].run, test, p_holm)


def _values(result: Result) -> dict[VideoMetric, np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the values of each video; of several seeds their mean."""
    by_seed = [video_values(_checked(folder, result)) for folder in result.folders]
    return {metric: np.mean([values[metric] for values in by_seed], axis=0) for metric in by_seed[0]}


def _checked(folder: Path, result: Result) -> Predictions:
    predictions = load_predictions(folder)
    told = {name: predictions.facts[name] for name in ("data_sha256", "weights", "protocol")}
    if any(result.numbers.get(name) != value for name, value in told.items()):
        raise DamageError(
            f"{folder}: metrics.json and predictions.npz are of different evaluations",
            remedy=f"make the numbers anew: ophclip evaluate --from {folder}",
        )
    return predictions


def _notes(comparison: Comparison) -> list[str]:
    pairs = comparison.pairs
    few = {pair.dataset: pair.test for pair in pairs if pair.test.videos < FEW_VIDEOS}
    notes = [
        f"{dataset}: with {test.videos} videos no small p-value can be reached; the least possible is "
        f"{'none' if test.smallest_p is None else f'{test.smallest_p:.3g}'}"
        for dataset, test in few.items()
    ]
    notes += [
        f"{pair.dataset}, {pair.metric.label}, {pair.second} - {pair.first}: {pair.test.left_out} videos "
        "without a value in both are left out"
        for pair in pairs
        if pair.test.left_out
    ]
    notes += [
        f"{pair.dataset}, {pair.metric.label}, {pair.second} - {pair.first}: the table's number, by its own "
        "averaging rule, says the opposite of the mean over videos"
        for pair in pairs
        if comparison.difference(pair) * (pair.test.difference or 0.0) < 0
    ]
    protocols = sorted({result.protocol for result in comparison.results})
    if len(protocols) > 1:
        notes.append(f"the protocols differ: {', '.join(protocols)}")
    names = dict.fromkeys(column.headline.name for column in comparison.columns)
    rules = [name for name in names if name.startswith(FALSE_REPORTS.family)]
    if len(rules) > 1:
        notes.append(f"the rules by which an instrument counts as reported differ: {', '.join(rules)}")
    return notes
