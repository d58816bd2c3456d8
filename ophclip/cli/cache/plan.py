# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ophclip import console
from ophclip.cli.cache.encoder_option import encoder_maker
from ophclip.cli.cache.place import LocalPlace
from ophclip.cli.options import (
    deadline_option,
    decoder_option,
    device_option,
    json_option,
    quiet_option,
    resolve_device,
    seed_option,
)
from ophclip.errors import EXIT_OK, EXIT_PARTIAL

if TYPE_CHECKING:
    from ophclip.cache.plan import Plan
    from ophclip.video import Decoder

GB = 1e9


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=LocalPlace("planning"),
    help="Cache that would be built: what it holds counts as done, and its disk must have the space.",
)
@click.option("--encoder", "encoder_name", default="tiny", show_default=True, help="As in cache build.")
@click.option("--fps", default=1.0, show_default=True, help="Frames stored a second.")
@click.option(
    "--stream",
    type=click.Choice(["features", "frames"]),
    default="features",
    show_default=True,
    help="As in cache build.",
)
@click.option("--size", type=click.IntRange(min=8), help="Side of stored frames in pixels (--stream frames).")
@decoder_option
@device_option
@click.option(
    "--measure",
    "measure_s",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Real work from which the time is estimated; 0 for none.",
)
@deadline_option
@seed_option
@json_option
@quiet_option
def plan(
    inputs: tuple[Path, ...],
    out: Path | None,
    encoder_name: str,
    fps: float,
    stream: str,
    size: int | None,
    decoder: str,
    device: str,
    measure_s: float,
    deadline_s: float | None,
    seed: int,
    as_json: bool,
) -> int:
    """Say what a build of INPUTS would do and take, and which files to look at first; nothing is written."""
    from ophclip.cache import find_inputs
    from ophclip.cache.encoder import default_batch_size, source_for
    from ophclip.cache.measure import measure
    from ophclip.cache.plan import plan_cache

    found = find_inputs(inputs)
    device = resolve_device(device)
    encoder = encoder_maker(stream, encoder_name, size, device)(device)
    batch_size = default_batch_size(device)
    source = source_for(encoder, cast("Decoder", decoder), device, batch_size=batch_size)
    planned = plan_cache(found, out or Path(), encoder=encoder, fps=fps, deadline_s=deadline_s)
    if measure_s:
        measure(planned, source, encoder, seconds=measure_s, seed=seed)
    if as_json:
        console.emit_json(planned.as_dict())
    else:
        _emit(planned)
    return EXIT_PARTIAL if planned.unreadable else EXIT_OK


def _emit(planned: Plan) -> None:
    facts = planned.as_dict()
    rows = [[name, f"{g['videos']:,}", f"{g['hours']:,.2f}"] for name, g in facts["groups"].items()]
    console.emit_table("readable videos", ["codec and size", "videos", "hours"], rows)
    for video in planned.unreadable:
        console.emit(f"cannot be read: {video.video_id}: {video.reason}")
    for video in planned.suspicious:
        console.emit(f"look at: {video.video_id}: {'; '.join(video.warnings)}")
    console.emit(
        f"{facts['readable']:,} of {facts['videos']:,} files are readable, {facts['hours']:,.2f} hours; "
        f"{facts['stored_already']:,} are stored already"
    )
    console.emit(
        f"to store: {facts['hours_to_do']:,.2f} hours, {facts['frames_to_do']:,} frames, "
        f"{facts['bytes_to_do'] / GB:,.3f} GB; free: {facts['bytes_free'] / GB:,.1f} GB"
    )
    if planned.eta_s is not None:
        console.emit(f"time: about {_duration(planned.eta_s)} here, from {facts['measured_s']:,} s of video")
    if not facts["fits"]:
        console.warn("the disk has not enough space for this")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
