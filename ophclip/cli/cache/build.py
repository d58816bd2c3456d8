# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ophclip import console
from ophclip.cli.cache.encoder_option import encoder_maker, precision_option
from ophclip.cli.cache.place import PLACE
from ophclip.cli.options import (
    all_devices,
    batch_size_option,
    deadline_option,
    decoder_option,
    device_option,
    engines_option,
    json_option,
    quiet_option,
    resolve_device,
    workers_option,
)
from ophclip.errors import EXIT_OK, EXIT_PARTIAL

if TYPE_CHECKING:
    from ophclip.cache import BuildReport
    from ophclip.cache.location import Location
    from ophclip.video import Decoder


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=PLACE,
    help="Cache to build or go on with; a folder, or s3://BUCKET/NAME.zarr.",
)
@click.option(
    "--encoder",
    "encoder_name",
    default="tiny",
    show_default=True,
    help="tiny, a run folder, or a transformers vision model by name or folder.",
)
@click.option("--fps", default=1.0, show_default=True, help="Frames stored a second.")
@click.option(
    "--stream",
    type=click.Choice(["features", "frames"]),
    default="features",
    show_default=True,
    help="Store encoder features, or the frames themselves to train encoders on.",
)
@click.option("--size", type=click.IntRange(min=8), help="Side of stored frames in pixels (--stream frames).")
@decoder_option
@device_option
@precision_option
@batch_size_option
@workers_option
@engines_option
@deadline_option
@click.option(
    "--retry",
    metavar="failed[:REASON]",
    help="Try again what failed before (for a REASON that contains this); default: only files that changed.",
)
@click.option(
    "--max-failures",
    metavar="N|P%",
    help="Stop with exit code 1 once more videos than this (a number, or a share of all) failed.",
)
@click.option(
    "--part",
    metavar="I/N",
    help="Build only the I-th of N parts, by a hash of the id: one command a machine, no coordinator.",
)
@click.option(
    "--ray",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value="",
    help="Build on a Ray cluster: the one at ADDRESS, or that runs here, or a new one on this machine. "
    "--workers is then the most tasks at once; default: as many as the cluster takes.",
)
@json_option
@quiet_option
def build(
    inputs: tuple[Path, ...],
    out: Location,
    encoder_name: str,
    fps: float,
    stream: str,
    size: int | None,
    decoder: str,
    device: str,
    precision: str | None,
    batch_size: int | None,
    workers: int | None,
    engines: int | None,
    deadline_s: float | None,
    retry: str | None,
    max_failures: str | None,
    part: str | None,
    ray: str | None,
    as_json: bool,
) -> int:
    """Build a cache from corpora, folders and files; what is stored already is skipped.

    A video that cannot be decoded fails alone: it is listed with its reason, the exit code is 3, and later
    runs leave it out until its file changes or --retry asks for it. After an interruption the same command
    goes on where it was.
    """
    from ophclip.cache import MaxFailures, Part, Retry, build_cache, find_inputs
    from ophclip.cache.threads import default_workers

    chosen = Part.parse(part) if part is not None else Part(1, 1)
    found = chosen.of(find_inputs(inputs))
    device = resolve_device(device)
    devices = all_devices(device)
    if workers is None:
        workers = default_workers(devices) if ray is None else 0
    make_encoder = encoder_maker(stream, encoder_name, size, device, precision)
    is_elsewhere = workers > 0 or ray is not None  # workers make their own
    encoder = make_encoder("cpu" if is_elsewhere else device)
    report = build_cache(
        found,
        out,
        encoder=encoder,
        fps=fps,
        decoder=cast("Decoder", decoder),
        device=device,
        batch_size=batch_size,
        engines=engines,
        workers=workers,
        make_encoder=make_encoder,
        devices=devices,
        deadline_s=deadline_s,
        retry=Retry.parse(retry) if retry is not None else None,
        max_failures=MaxFailures.parse(max_failures) if max_failures is not None else None,
        ray=ray,
    )
    if as_json:
        console.emit_json(
            {"out": str(out), "encoder": encoder.name, "fps": fps, "part": str(chosen), **report.as_dict()}
        )
    else:
        _print(out, report)
    return EXIT_PARTIAL if report.failed else EXIT_OK


def _print(out: Location, report: BuildReport) -> None:
    console.emit(
        f"{out}: {len(report.committed)} videos stored, {len(report.skipped)} were there already, "
        f"{len(report.failed)} failed"
    )
    known = set(report.not_retried)
    for video_id, reason in report.failed.items():
        console.emit(f"{'failed before' if video_id in known else 'failed'}: {video_id}: {reason}")
    if known:
        console.say(f"{len(known)} failed before and are unchanged: --retry failed tries them again")
