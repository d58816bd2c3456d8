# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ophclip import console
from ophclip.cli.datasets import check_option, list_option, required_run, show_check, show_datasets
from ophclip.cli.evaluate_options import (
    OF_PROBES,
    OF_PROMPTS,
    bootstrap_options,
    pooling_options,
    probe_options,
)
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
@click.option("--smooth-s", type=float, default=0.0, help="Score predictions averaged over this time too.")
@pooling_options
@probe_options
@bootstrap_options
@click.option("--cache", type=click.Path(path_type=Path), help="Stored embeddings  [OUT/features.zarr]")
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
    """Evaluate RUN (a pretrain output) on a dataset: zero-shot, few-shot or by a linear probe."""
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
        results = _evaluated(run, {**options, "device": resolve_device(device)})
    if as_json:
        console.emit_json({**results.summary(), "report": str(results.report), **results.numbers})
    else:
        show(results)
    return None


def _evaluated(run: Path, options: dict[str, Any]) -> Results:
    protocol = options.pop("protocol")
    given = click.get_current_context().get_parameter_source
    foreign = OF_PROBES if protocol == "zero-shot" else OF_PROMPTS
    for name in foreign:
        if given(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} is not an option of --protocol {protocol}.")
    kept = {name: value for name, value in options.items() if name not in foreign}
    if protocol == "zero-shot":
        from ophclip.evaluate import evaluate as run_evaluation

        return run_evaluation(run, **kept)
    from ophclip.evaluate import probe

    return probe(run, protocol=protocol, **kept)


def _refuse_beside_from(run: Path | None, options: dict[str, Any]) -> None:
    given = ["RUN"] if run else []
    given += [f"--{name}" for name in ("dataset", "root") if options[name] is not None]
    if given:
        raise click.UsageError(f"--from scores what is stored: it takes no {given[0]}.")


def show(results: Results) -> None:
    """Print the scores with their averaging rules, and where the report lies."""
    from ophclip.evaluate.report import format_number
    from ophclip.evaluate.report_rules import RULES

    title = f"{results.numbers['dataset']}, {results.numbers['protocol']}"
    if "settings" in results.numbers:
        _show_series(title, results.numbers["settings"])
    else:
        rows = [
            [f"{task} {name}", format_number(scores[name]), _interval(scores["ci95"][name]), rule]
            for task in ("phase", "instrument")
            if (scores := results.numbers.get(task))
            for name, rule in RULES.items()
            if name in scores
        ]
        console.emit_table(title, ["metric", "value", "95 %", "how it is averaged"], rows)
        if "instrument" in results.numbers:
            console.emit(f"an instrument is present by the rule: {results.numbers['instrument']['fpr_rule']}")
    console.emit(f"report: {results.report}")


def _show_series(title: str, settings: dict[str, Any]) -> None:
    from ophclip.evaluate.report_rules import RULES

    first = next(iter(settings.values()))
    names = [
        (task, name) for task in ("phase", "instrument") for name in RULES if name in first.get(task, {})
    ]
    rows = [
        [f"{task} {name}", *(_over_seeds(scores[task][name]) for scores in settings.values())]
        for task, name in names
    ]
    console.emit_table(f"{title}, mean over seeds (deviation)", ["metric", *settings], rows)


def _over_seeds(told: dict[str, Any]) -> str:
    from ophclip.evaluate.report import format_number

    shown = format_number(told["mean"])
    return shown if told["sd"] is None else f"{shown} ({told['sd']:.3f})"


def _interval(bounds: list[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
