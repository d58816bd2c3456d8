# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ophclip import console
from ophclip.cli.options import json_option, quiet_option, set_option
from ophclip.errors import UsageError

if TYPE_CHECKING:
    from ophclip.pretrain import PretrainConfig


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Run folder to write.")
@set_option
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint in --out.")
@click.option("--profile", is_flag=True, help="Write a trace of some steps into the run.")
@click.option("--benchmark", is_flag=True, help="Time the steps of this configuration; nothing is written.")
@json_option
@quiet_option
def pretrain(
    config: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    profile: bool,
    benchmark: bool,
    as_json: bool,
) -> None:
    """Pretrain a dual encoder as CONFIG (a TOML file) says; on several processes under torchrun."""
    from dataclasses import asdict

    from ophclip.config import load_config
    from ophclip.pretrain import PretrainConfig, is_first_process
    from ophclip.pretrain import pretrain as run

    choices = load_config(PretrainConfig, config, overrides)
    if benchmark:
        _benchmark(choices, as_json)
        return
    if out is None:
        raise UsageError("--out must name the run folder", remedy="pass --out RUN, or --benchmark")
    summary = run(choices, out, resume=resume, profile=profile)
    if not is_first_process():
        return
    if as_json:
        console.emit_json(asdict(summary))
        return
    rows = [[name.replace("_", " "), _text(value)] for name, value in asdict(summary).items()]
    console.emit_table(f"run {out}", ["what", "value"], rows)


def _benchmark(choices: PretrainConfig, as_json: bool) -> None:
    from dataclasses import asdict

    from ophclip.pretrain import is_first_process, measure_speed
    from ophclip.pretrain.speed import table_rows

    speed = measure_speed(choices)
    if not is_first_process():
        return
    if as_json:
        console.emit_json(asdict(speed))
        return
    title = f"{speed.num_processes} x {speed.device}, peak {speed.peak_mib:,.0f} MiB a process"
    console.emit_table(title, ["what", "clip level", "video level"], list(table_rows(speed)))


def _text(value: object) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
