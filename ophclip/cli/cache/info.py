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
    """Say what a cache holds and how it was made."""
    from ophclip.cache import open_cache
    from ophclip.cache.journal import read_failures

    store = open_cache(path)
    num_frames = sum(store.num_frames(video_id) for video_id in store)
    row_bytes = store.dtype.itemsize
    for side in store.row_shape:
        row_bytes *= side
    facts = {
        "path": str(path),
        "videos": len(store),
        "failed": len(read_failures(path)),
        "frames": num_frames,
        "hours": round(num_frames / store.provenance["fps"] / 3600, 4),
        "bytes": num_frames * row_bytes,
        **store.provenance,
    }
    if as_json:
        console.emit_json(facts)
    else:
        console.emit_table(str(path), ["what", "value"], [[key, str(value)] for key, value in facts.items()])
