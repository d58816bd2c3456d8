# SPDX-License-Identifier: Apache-2.0
"""What a comparison found: a table of numbers, and tests of pairs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ophclip.evaluate.compare_flips import PairedTest
from ophclip.evaluate.compare_results import Result
from ophclip.evaluate.compare_videos import VideoMetric
from ophclip.evaluate.report_headlines import Headline
from ophclip.evaluate.report_rules import RULES


@dataclass(frozen=True)
class Column:
    """A number of a dataset."""

    dataset: str
    headline: Headline


@dataclass(frozen=True)
class Cell:
    """A number and its 95 % interval; `best` among the runs that have it."""

    value: float | None
    ci95: tuple[float, float] | None
    best: bool = False


@dataclass(frozen=True)
class Pair:
    """Two runs on the same videos: the difference is `second` less `first`."""

    dataset: str
    metric: VideoMetric
    first: str
    second: str
    test: PairedTest
    p_holm: float | None


@dataclass(frozen=True)
class Comparison:
    """Runs as rows, datasets and their numbers as columns; None where a run has no such result."""

    runs: list[str]
    columns: list[Column]
    table: list[list[Cell | None]]
    pairs: list[Pair]
    results: list[Result]
    notes: list[str] = field(default_factory=list)

    def difference(self, pair: Pair) -> float:
        """Return the difference of the numbers in the table for a pair; 0 where there is none."""
        rows = [self.table[self.runs.index(run)] for run in (pair.first, pair.second)]
        for index, column in enumerate(self.columns):
            cells = [row[index] for row in rows]
            values = [cell.value for cell in cells if cell and cell.value is not None]
            same = column.dataset == pair.dataset and column.headline.name.startswith(pair.metric.family)
            if same and len(values) == 2:
                return values[1] - values[0]
        return 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as plain JSON types."""
        return {
            "runs": self.runs,
            "columns": [
                {
                    "dataset": column.dataset,
                    "metric": column.headline.name,
                    "label": column.headline.label,
                    "rule": RULES[column.headline.name],
                    "more_is_better": column.headline.more_is_better,
                }
                for column in self.columns
            ],
            "table": [[None if cell is None else asdict(cell) for cell in row] for row in self.table],
            "pairs": [
                {
                    "dataset": pair.dataset,
                    "metric": pair.metric.name,
                    "label": pair.metric.label,
                    "rule": f"{pair.metric.rule}, averaged over videos",
                    "more_is_better": pair.metric.more_is_better,
                    "first": pair.first,
                    "second": pair.second,
                    **asdict(pair.test),
                    "p_holm": pair.p_holm,
                }
                for pair in self.pairs
            ],
            "results": [result.as_dict() for result in self.results],
            "notes": self.notes,
        }
