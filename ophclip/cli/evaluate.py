# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ophclip import console
from ophclip.cli.options import decoder_option, device_option, json_option, quiet_option, resolve_device

if TYPE_CHECKING:
    from ophclip.evaluate import Results


def _list_datasets(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from ophclip.evaluate.datasets import names

        console.emit("\n".join(names()))
        context.exit()


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--dataset", required=True, help="Name of the dataset; see --list.")
@click.option("--root", required=True, type=click.Path(path_type=Path), help="Folder of the dataset.")
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
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_datasets,
    help="Name the datasets.",
)
@json_option
@quiet_option
def evaluate(run: Path, device: str, as_json: bool, **options: Any) -> None:
    """Evaluate RUN (a pretrain output) zero-shot on a dataset."""
    from ophclip.evaluate import evaluate as run_evaluation

    results = run_evaluation(run, device=resolve_device(device), **options)
    if as_json:
        console.emit_json({**results.summary(), "report": str(results.report), **results.numbers})
    else:
        show(results)


def show(results: Results) -> None:
    """Print the scores with their averaging rules, and where the report lies."""
    from ophclip.evaluate.report import RULES, format_number

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
