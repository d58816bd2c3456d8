# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ophclip import console
from ophclip.cli.cache.place import PLACE, LocalPlace
from ophclip.cli.options import json_option, quiet_option

if TYPE_CHECKING:
    from ophclip.cache.location import Location


@click.command()
@click.argument("path", metavar="CACHE", type=PLACE)
@click.option("--out", required=True, type=LocalPlace("packing"), help="Packed cache to make.")
@json_option
@quiet_option
def pack(path: Location, out: Path, as_json: bool) -> None:
    """Merge a cache into few large files, each video checked on the way.

    For object stores and network file systems, where 50,000 small files are slow. After an interruption the
    same command goes on.
    """
    from ophclip.cache import open_cache, pack_cache

    report = pack_cache(open_cache(path), out)
    if as_json:
        console.emit_json(report.as_dict())
    elif report.was_there:
        console.emit(f"{out}: {report.num_videos} videos were packed already")
    else:
        console.emit(
            f"{out}: {report.num_videos} videos, {report.num_rows} rows, {report.num_bytes / 1e6:,.1f} MB "
            f"in {report.num_shards} shards"
        )
