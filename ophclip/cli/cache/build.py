# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ophclip import console
from ophclip.cli.options import decoder_option, device_option, json_option, quiet_option, resolve_device
from ophclip.errors import EXIT_OK, EXIT_PARTIAL

if TYPE_CHECKING:
    from ophclip.cache import Encoder
    from ophclip.video import Decoder

FEATURES_REMEDY = "the size of --stream features is the encoder's own; leave --size out"


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Cache to build or go on with.")
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
@click.option(
    "--batch-size",
    default=32,
    show_default=True,
    type=click.IntRange(min=1),
    help="Frames encoded at once.",
)
@json_option
@quiet_option
def build(
    inputs: tuple[Path, ...],
    out: Path,
    encoder_name: str,
    fps: float,
    stream: str,
    size: int | None,
    decoder: str,
    device: str,
    batch_size: int,
    as_json: bool,
) -> int:
    """Build a cache from corpora, folders and files; what is stored already is skipped."""
    from ophclip.cache import build_cache, find_inputs

    found = find_inputs(inputs)
    device = resolve_device(device)
    encoder = _encoder(stream, encoder_name, size, device)
    report = build_cache(
        found,
        out,
        encoder=encoder,
        fps=fps,
        decoder=cast("Decoder", decoder),
        device=device,
        batch_size=batch_size,
    )
    if as_json:
        console.emit_json({"out": str(out), "encoder": encoder.name, "fps": fps, **report.as_dict()})
    else:
        console.emit(
            f"{out}: {len(report.committed)} videos stored, {len(report.skipped)} were there already, "
            f"{len(report.failed)} failed"
        )
        for video_id, reason in report.failed.items():
            console.emit(f"failed: {video_id}: {reason}")
    return EXIT_PARTIAL if report.failed else EXIT_OK


def _encoder(stream: str, name: str, size: int | None, device: str) -> Encoder:
    if stream == "frames":
        from ophclip.cache import FrameRows
        from ophclip.video import Geometry

        side = size or 224
        return FrameRows(Geometry(side, side, "crop"))
    if size is not None:
        raise click.UsageError(FEATURES_REMEDY)
    from ophclip.models import load_encoder

    return load_encoder(name, device)
