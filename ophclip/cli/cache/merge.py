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
@click.argument("sources", metavar="CACHES...", nargs=-1, required=True, type=PLACE)
@click.option(
    "--out", required=True, type=PLACE, help="Cache to merge into; made if it is not there, or one of CACHES."
)
@json_option
@quiet_option
def merge(sources: tuple[Location, ...], out: Location, as_json: bool) -> None:
    """Join caches that were built in the same way, here or in object stores; what is there is skipped.

    Also copies a cache to an object store, and back. Ids that two caches hold with different rows are refused
    before anything is copied. After an interruption the same command goes on.
    """
    from ophclip.cache import merge_caches

    report = merge_caches(sources, out)
    if as_json:
        console.emit_json(report.as_dict())
    else:
        console.emit(
            f"{out}: {report.num_copied} videos copied ({report.num_bytes / 1e6:,.1f} MB of rows), "
            f"{report.num_skipped} were there already, {report.num_failures} failures carried along"
        )
