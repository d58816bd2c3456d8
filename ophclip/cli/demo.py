# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import click

from ophclip import console
from ophclip.cli.options import json_option, quiet_option, seed_option, set_option


@click.command()
@click.option(
    "--out", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder to fill."
)
@set_option
@seed_option
@json_option
@quiet_option
def demo(out: Path, overrides: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Run the whole pipeline on a simulated corpus: a few minutes on a laptop without a GPU."""
    from ophclip.cli import evaluate, search
    from ophclip.demo import SENTENCE, DemoWorld, run_demo

    result = run_demo(out, DemoWorld(seed=seed), overrides=overrides)
    if as_json:
        console.emit_json(result.as_dict())
        return
    evaluate.show(result.results)
    search.show(SENTENCE, result.moments)
    stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.stages.items())
    console.emit(f"took {sum(result.stages.values()):.0f} s: {stages}")
