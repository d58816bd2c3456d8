# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ophclip import console
from ophclip.cli.options import json_option, quiet_option, seed_option

if TYPE_CHECKING:
    from ophclip.evaluate.compare_outcome import Cell, Comparison, Pair

COLUMNS = 4  # of a table: more do not fit in a terminal


@click.command()
@click.argument("results", nargs=-1, metavar="[NAME=]FOLDER...")
@click.option("--html", type=click.Path(path_type=Path), help="Write the comparison as one HTML file.")
@seed_option
@json_option
@quiet_option
def compare(results: tuple[str, ...], html: Path | None, seed: int, as_json: bool) -> None:
    """Compare two or more folders of results: one table, and paired tests over videos.

    A folder may be given a name, as in `ophclip compare clip=runs/a/evaluate-cat21 runs/b/evaluate-cat21`.
    Results of one run on several datasets make one row. The p-values are of sign flips of the videos'
    differences: all flips for up to 16 videos, else a seeded sample.
    """
    from ophclip.evaluate.compare import compare as compare_results

    comparison = compare_results(results, seed=seed)
    if html is not None:
        from ophclip.evaluate.compare_page import render_comparison
        from ophclip.files import replace_file

        replace_file(html, render_comparison(comparison).encode())
    if as_json:
        console.emit_json({**comparison.as_dict(), "html": None if html is None else str(html)})
        return
    _show_table(comparison)
    _show_pairs(comparison)
    for note in comparison.notes:
        console.emit(f"note: {note}")
    if html is not None:
        console.emit(f"comparison: {html}")


def _show_table(comparison: Comparison) -> None:
    for begin in range(0, len(comparison.columns), COLUMNS):
        part = slice(begin, begin + COLUMNS)
        heads = [f"{column.dataset}\n{column.headline.label}" for column in comparison.columns[part]]
        rows = [
            [run, *map(_cell, row[part])] for run, row in zip(comparison.runs, comparison.table, strict=True)
        ]
        console.emit_table("results, 95 % intervals, * the best", ["run", *heads], rows)
    from ophclip.evaluate.report_rules import RULES

    for headline in dict.fromkeys(column.headline for column in comparison.columns):
        console.emit(f"{headline.label}: {RULES[headline.name]}")


def _show_pairs(comparison: Comparison) -> None:
    if not comparison.pairs:
        console.emit("no two results are of the same dataset: there is nothing to test")
        return
    heads = ["second - first", "difference", "95 % interval", "p", "p (Holm)", "videos"]
    for (dataset, metric), group in itertools.groupby(
        comparison.pairs, key=lambda pair: (pair.dataset, pair.metric)
    ):
        better = "more" if metric.more_is_better else "less"
        title = f"{dataset}: {metric.rule}, averaged over videos; {better} is better"
        console.emit_table(title, heads, [_pair(pair) for pair in group])


def _cell(cell: Cell | None) -> str:
    from ophclip.evaluate.plots import format_number

    if cell is None:
        return "-"
    mark = "*" if cell.best else ""
    between = "" if cell.ci95 is None else f"\n{cell.ci95[0]:.3f} to {cell.ci95[1]:.3f}"
    return f"{format_number(cell.value)}{mark}{between}"


def _pair(pair: Pair) -> list[str]:
    test = pair.test
    return [
        f"{pair.second} - {pair.first}",
        "n/a" if test.difference is None else f"{test.difference:+.3f}",
        "n/a" if test.ci95 is None else f"{test.ci95[0]:+.3f} to {test.ci95[1]:+.3f}",
        _p(test.p),
        _p(pair.p_holm),
        str(test.videos),
    ]


def _p(value: float | None) -> str:
    if value is None:
        return "n/a"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
