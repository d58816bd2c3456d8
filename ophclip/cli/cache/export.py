# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ophclip import console
from ophclip.cli.cache.place import PLACE, LocalPlace
from ophclip.cli.options import json_option, quiet_option

if TYPE_CHECKING:
    from ophclip.cache import ExportFormat
    from ophclip.cache.location import Location

FORMATS = ("npy", "safetensors", "webdataset")


@click.command()
@click.argument("path", metavar="CACHE", type=PLACE)
@click.option("--out", required=True, type=LocalPlace("exporting"), help="Folder to write into.")
@click.option("--format", "format_name", required=True, type=click.Choice(FORMATS), help="What to write.")
@click.option("--id", "chosen", multiple=True, metavar="ID", help="Export this video; may be repeated.")
@click.option(
    "--ids",
    "listed",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Export the videos that this file names, one id a line (- for standard input).",
)
@click.option(
    "--shard-size",
    default=1024,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Rows in a tar shard at most, in MiB (webdataset).",
)
@json_option
@quiet_option
def export(
    path: Location,
    out: Path,
    format_name: str,
    chosen: tuple[str, ...],
    listed: Path | None,
    shard_size: int,
    as_json: bool,
) -> None:
    """Write a cache for other programs; what is there already is skipped.

    npy: two files a video, the rows as .npy and the rest as .json. safetensors: one file a video, with rows,
    times and pts. webdataset: tar shards of .npy and .json.
    """
    from ophclip.cache import export_cache, open_cache

    ids = [*chosen, *_read_ids(listed)] if chosen or listed else None
    report = export_cache(
        open_cache(path), out, cast("ExportFormat", format_name), ids=ids, shard_mib=shard_size
    )
    if as_json:
        console.emit_json(report.as_dict())
    else:
        shards = f" in {report.num_shards} shards" if report.num_shards else ""
        console.emit(
            f"{out}: {report.num_written} videos written ({report.num_bytes / 1e6:,.1f} MB of rows){shards}, "
            f"{report.num_skipped} were there already"
        )


def _read_ids(listed: Path | None) -> list[str]:
    if listed is None:
        return []
    text = sys.stdin.read() if str(listed) == "-" else _read_text(listed)
    return [line for line in text.splitlines() if line.strip()]


def _read_text(path: Path) -> str:
    from ophclip.errors import UsageError

    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}", remedy="name a UTF-8 file of ids") from error
