# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import click

from ophclip import console
from ophclip.cli.options import json_option, quiet_option, set_option


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder to write.")
@set_option
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint in --out.")
@json_option
@quiet_option
def pretrain(config: Path, out: Path, overrides: tuple[str, ...], resume: bool, as_json: bool) -> None:
    """Pretrain a dual encoder as CONFIG (a TOML file) says."""
    from dataclasses import asdict

    from ophclip.config import load_config
    from ophclip.pretrain import PretrainConfig
    from ophclip.pretrain import pretrain as run

    summary = run(load_config(PretrainConfig, config, overrides), out, resume=resume)
    if as_json:
        console.emit_json(asdict(summary))
        return
    rows = [[name.replace("_", " "), _text(value)] for name, value in asdict(summary).items()]
    console.emit_table(f"run {out}", ["what", "value"], rows)


def _text(value: object) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
