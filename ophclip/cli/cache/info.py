# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ophclip import console
from ophclip.cli.cache.place import PLACE
from ophclip.cli.options import json_option, quiet_option

if TYPE_CHECKING:
    from ophclip.cache.location import Location


@click.command()
@click.argument("path", metavar="CACHE", type=PLACE)
@json_option
@quiet_option
def info(path: Location, as_json: bool) -> None:
    """Say what a cache holds and how it was made, and its content hash."""
    from ophclip.cache.listing import summarize

    facts = summarize(path)
    if as_json:
        console.emit_json(facts)
        return
    failures = facts.pop("failures")
    writers = facts.pop("writers")
    running = "" if writers["running"] is None else f", {writers['running']} of them running"
    facts["writers"] = f"{writers['all']}{running}"
    rows = [[key, str(value)] for key, value in facts.items()]
    rows += [["failed", f"{count} x {reason}"] for reason, count in failures.items()]
    console.emit_table(str(path), ["what", "value"], rows)
