# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ophclip import console
from ophclip.cli.options import decoder_option, device_option, json_option, quiet_option, resolve_device

if TYPE_CHECKING:
    from ophclip.explorer.search import Moment


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("text")
@click.option("-k", "--k", default=10, show_default=True, help="Number of moments.")
@decoder_option
@device_option
@json_option
@quiet_option
def search(run: Path, text: str, k: int, decoder: Any, device: str, as_json: bool) -> None:
    """Find the moments of RUN's silent videos that match TEXT."""
    from ophclip.explorer.search import search as find

    moments = find(run, text, k, decoder=decoder, device=resolve_device(device))
    if as_json:
        console.emit_json({"text": text, "moments": [moment.as_dict() for moment in moments]})
    else:
        show(text, moments)


def show(text: str, moments: list[Moment]) -> None:
    """Print moments as a table."""
    rows = [
        [f"{moment.score:.3f}", moment.video_id, _clock(moment.time_s), moment.title] for moment in moments
    ]
    console.emit_table(f"“{text}”", ["score", "video", "at", "title"], rows)


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(int(time_s), 60)
    return f"{minutes}:{seconds:02d}"
