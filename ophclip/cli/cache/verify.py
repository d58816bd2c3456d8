# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ophclip import console
from ophclip.cli.cache.encoder_option import load_recorded_encoder, recorded_encoder_option
from ophclip.cli.cache.place import PLACE
from ophclip.cli.options import device_option, json_option, quiet_option, seed_option
from ophclip.errors import EXIT_DAMAGE, EXIT_OK, EXIT_PARTIAL

if TYPE_CHECKING:
    from ophclip.cache.findings import VerifyReport
    from ophclip.cache.location import Location


@click.command()
@click.argument("path", metavar="CACHE", type=PLACE)
@click.argument("ids", nargs=-1)
@click.option(
    "--sample",
    default=0.0,
    metavar="SHARE",
    help="Also decode this share of the frames anew from the video files, 0 to 1, and compare.",
)
@recorded_encoder_option
@device_option
@seed_option
@json_option
@quiet_option
def verify(
    path: Location,
    ids: tuple[str, ...],
    sample: float,
    encoder_name: str | None,
    device: str,
    seed: int,
    as_json: bool,
) -> int:
    """Find damage: read all of a cache, or the videos IDS, and compare it with what was committed."""
    from ophclip.cache.verify import verify_cache

    encoder = load_recorded_encoder(path, encoder_name, device) if sample else None
    report = verify_cache(path, ids, sample=sample, encoder=encoder, seed=seed)
    if as_json:
        console.emit_json({"path": str(path), **report.as_dict()})
    else:
        _emit(path, report)
    if report.findings:
        what = f"{path}: {len(report.damaged)} videos are damaged, {len(report.findings)} findings in all"
        console.report_error(what, report.remedy)
        return EXIT_DAMAGE
    return EXIT_PARTIAL if report.unchecked else EXIT_OK


def _emit(path: Location, report: VerifyReport) -> None:
    for finding in report.findings:
        console.emit(f"damaged: {finding.item}: {finding.kind}: {finding.what}")
    for video_id, reason in report.unchecked.items():
        console.emit(f"cannot check: {video_id}: {reason}")
    for note in report.notes:
        console.emit(f"note: {note}")
    facts = report.as_dict()
    decoded = f", {report.frames_decoded:,} frames decoded anew" if report.frames_decoded else ""
    state = "damaged" if report.findings else "whole"
    size = f"{report.num_bytes / 1e6:,.1f} MB in {report.seconds:.1f} s, {facts['mb_per_s']:,.0f} MB/s"
    console.emit(f"{path}: {report.videos} videos, {size}{decoded}: {state}")
    if report.content_hash:
        console.emit(f"content hash {report.content_hash}")
