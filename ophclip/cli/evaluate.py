# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ophclip import console
from ophclip.cli.datasets import check_option, list_option, required_run, show_check, show_datasets
from ophclip.cli.options import decoder_option, device_option, json_option, quiet_option, resolve_device

if TYPE_CHECKING:
    from ophclip.evaluate import Results


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--dataset", help="Name of the dataset; see --list.")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the dataset.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="Score stored predictions again (a folder of results, or its predictions.npz): no RUN, no data.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Results folder  [RUN/evaluate-DATASET]")
@click.option("--prompts", help="A prompts file of your own.")
@click.option(
    "--variant",
    type=click.Choice(["name", "template", "description", "all"]),
    default="all",
    show_default=True,
    help="Which prompts of the file.",
)
@click.option("--keep-background", is_flag=True, help="Score frames outside every phase as a class.")
@decoder_option
@device_option
@list_option
@check_option
@json_option
@quiet_option
def evaluate(
    run: Path | None,
    source: Path | None,
    device: str,
    as_json: bool,
    list_all: bool,
    check: bool,
    **options: Any,
) -> int | None:
    """Evaluate RUN (a pretrain output) zero-shot on a dataset."""
    if list_all:
        return show_datasets(as_json)
    if check:
        return show_check(options["dataset"], options["root"], as_json)
    if source is not None:
        _refuse_beside_from(run, options)
        from ophclip.evaluate import rescore

        results = rescore(source, options["out"])
    else:
        run = required_run(run, options["dataset"], options["root"])
        from ophclip.evaluate import evaluate as run_evaluation

        results = run_evaluation(run, device=resolve_device(device), **options)
    if as_json:
        console.emit_json({**results.summary(), "report": str(results.report), **results.numbers})
    else:
        show(results)
    return None


def _refuse_beside_from(run: Path | None, options: dict[str, Any]) -> None:
    given = ["RUN"] if run else []
    given += [f"--{name}" for name in ("dataset", "root") if options[name] is not None]
    if given:
        raise click.UsageError(f"--from scores what is stored: it takes no {given[0]}.")


def show(results: Results) -> None:
    """Print the scores with their averaging rules, and where the report lies."""
    from ophclip.evaluate.report import format_number
    from ophclip.evaluate.report_rules import RULES

    rows = [
        [f"{task} {name}", format_number(scores[name]), rule]
        for task in ("phase", "instrument")
        if (scores := results.numbers.get(task))
        for name, rule in RULES.items()
        if name in scores
    ]
    title = f"{results.numbers['dataset']}, {results.numbers['protocol']}"
    console.emit_table(title, ["metric", "value", "how it is averaged"], rows)
    console.emit(f"report: {results.report}")
