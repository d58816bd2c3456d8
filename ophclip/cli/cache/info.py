# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import click

from ophclip import console
from ophclip.cli.options import json_option, quiet_option


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@json_option
@quiet_option
def info(path: Path, as_json: bool) -> None:
    """Say what a cache holds and how it was made, and its content hash."""
    from ophclip.cache.listing import summarize

    facts = summarize(path)
    if as_json:
        console.emit_json(facts)
        return
    failures = facts.pop("failures")
    writers = facts.pop("writers")
    facts["writers"] = f"{writers['all']}, {writers['running']} of them running"
    rows = [[key, str(value)] for key, value in facts.items()]
    rows += [["failed", f"{count} x {reason}"] for reason, count in failures.items()]
    console.emit_table(str(path), ["what", "value"], rows)
