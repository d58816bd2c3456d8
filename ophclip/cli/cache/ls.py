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
def ls(path: Path, as_json: bool) -> None:
    """List the videos of a cache, and those that failed."""
    from ophclip.cache import open_cache
    from ophclip.cache.journal import read_failures

    store, failed = open_cache(path), read_failures(path)
    frames = {video_id: store.num_frames(video_id) for video_id in store}
    if as_json:
        console.emit_json({"path": str(path), "videos": frames, "failed": failed})
        return
    rows = [[video_id, str(count), "stored"] for video_id, count in frames.items()]
    rows += [[video_id, "-", f"failed: {reason}"] for video_id, reason in failed.items()]
    console.emit_table(str(path), ["video", "frames", "state"], rows)
