# SPDX-License-Identifier: Apache-2.0
"""What `ophclip evaluate` does without a run: list the datasets, and check a download."""

from __future__ import annotations

from pathlib import Path

import click

from ophclip import console
from ophclip.cli.options import Decorator

SHOWN_FINDINGS = 40  # in the terminal; --json has all

list_option: Decorator = click.option("--list", "list_all", is_flag=True, help="List the datasets.")

check_option: Decorator = click.option(
    "--check", is_flag=True, help="Check a download of --dataset in --root; needs no RUN and no GPU."
)


def required_run(run: Path | None, dataset: str | None, root: Path | None) -> Path:
    """Return the run, once all that an evaluation needs is given.

    Raises:
        click.UsageError: something is missing.
    """
    if run is None:
        raise click.UsageError("Missing argument 'RUN'.")
    required_download(dataset, root)
    return run


def required_download(dataset: str | None, root: Path | None) -> tuple[str, Path]:
    """Return the dataset and its folder, once both are given.

    Raises:
        click.UsageError: one is missing.
    """
    if dataset is None:
        raise click.UsageError("Missing option '--dataset'.")
    if root is None:
        raise click.UsageError("Missing option '--root'.")
    return dataset, root


def show_datasets(as_json: bool) -> int:
    """Print what is known of each dataset."""
    from ophclip.evaluate.check import list_datasets

    datasets = list_datasets()
    if as_json:
        console.emit_json({"datasets": datasets})
        return 0
    columns = ["name", "task", "classes", "licence"]
    rows = [[str(row[column] or "yours") for column in columns] for row in datasets]
    console.emit_table("datasets", columns, rows)
    for row in datasets:  # too long for a column
        console.emit(f"{row['name']}\n  split: {row['split']}\n  where: {row['where']}")
    return 0


def show_check(dataset: str | None, root: Path | None, as_json: bool) -> int:
    """Check a download, print what was found, and return the exit code: 4 on defects."""
    from ophclip.evaluate.check import check_dataset

    name, folder = required_download(dataset, root)
    report = check_dataset(name, folder)
    if as_json:
        console.emit_json(report.as_dict())
        return report.exit_code
    if report.counts:
        rows = [[part.what, str(part.found), str(part.published), part.source] for part in report.counts]
        console.emit_table(f"{name} in {folder}", ["what", "found", "published", "known from"], rows)
    shown = sorted(report.findings, key=lambda finding: finding.severity == "note")
    for finding in shown[:SHOWN_FINDINGS]:
        console.emit(f"{finding.severity}: {finding} [{finding.kind}]")
    if len(shown) > SHOWN_FINDINGS:
        console.emit(f"... and {len(shown) - SHOWN_FINDINGS} more: --json has all")
    notes = len(report.findings) - len(report.defects)
    console.emit(f"{len(report.defects)} defects, {notes} notes")
    return report.exit_code
