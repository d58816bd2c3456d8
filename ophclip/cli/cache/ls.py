# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ophclip import console
from ophclip.cli.cache.place import PLACE
from ophclip.cli.options import json_option, quiet_option

if TYPE_CHECKING:
    from ophclip.cache.listing import Listed, State
    from ophclip.cache.location import Location


@click.command()
@click.argument("path", metavar="CACHE", type=PLACE)
@click.option("--stored", is_flag=True, help="Only those that are stored.")
@click.option("--failed", is_flag=True, help="Only those that failed.")
@click.option("--stale", is_flag=True, help="Only those whose video file is gone or has changed since.")
@json_option
@quiet_option
def ls(path: Location, stored: bool, failed: bool, stale: bool, as_json: bool) -> None:
    """List the videos of a cache, and those that failed."""
    from ophclip.cache.listing import list_videos

    chosen: dict[State, bool] = {"stored": stored, "failed": failed, "changed": stale, "gone": stale}
    states = [state for state, is_chosen in chosen.items() if is_chosen]
    videos = list_videos(path, states, check_sources=stale)
    if as_json:
        console.emit_json({"path": str(path), "videos": [video.as_dict() for video in videos]})
    else:
        columns = ["video", "state", "frames", "hours", "MB", "source or reason"]
        console.emit_table(f"{path}: {len(videos)} videos", columns, [_row(video) for video in videos])


def _row(video: Listed) -> list[str]:
    if video.state == "failed":
        return [video.video_id, "failed", "-", "-", "-", video.reason]
    size, hours = f"{video.num_bytes / 1e6:,.2f}", f"{video.hours:,.3f}"
    return [video.video_id, video.state, f"{video.frames:,}", hours, size, video.source]
