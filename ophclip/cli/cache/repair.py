# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ophclip import console
from ophclip.cli.cache.encoder_option import load_recorded_encoder, recorded_encoder_option
from ophclip.cli.cache.place import PLACE
from ophclip.cli.options import (
    all_devices,
    batch_size_option,
    device_option,
    json_option,
    quiet_option,
    resolve_device,
    workers_option,
)
from ophclip.errors import EXIT_DAMAGE, EXIT_OK

if TYPE_CHECKING:
    from ophclip.cache.location import Location
    from ophclip.cache.repair import RepairReport

SAYS = {
    "repaired": "extracted anew, byte for byte as committed",
    "differing": "extracted anew by another version of the decoder",
    "adopted": "whole, entered into the journal anew",
    "mended": "mended",
    "removed": "belonged to no video, removed",
}


@click.command()
@click.argument("path", metavar="CACHE", type=PLACE)
@click.argument("ids", nargs=-1)
@recorded_encoder_option
@device_option
@batch_size_option
@workers_option
@json_option
@quiet_option
def repair(
    path: Location,
    ids: tuple[str, ...],
    encoder_name: str | None,
    device: str,
    batch_size: int | None,
    workers: int | None,
    as_json: bool,
) -> int:
    """Extract anew what is damaged in a cache, or in its videos IDS, and leave the rest untouched.

    With the --batch-size of its build, rows come out with the same bytes.
    """
    from ophclip.cache.repair import repair_cache
    from ophclip.cache.threads import default_workers

    device = resolve_device(device)
    devices = all_devices(device)
    workers = default_workers(devices) if workers is None else workers
    report = repair_cache(
        path,
        ids,
        encoder=lambda: load_recorded_encoder(path, encoder_name, "cpu" if workers else device),
        device=device,
        batch_size=batch_size,
        workers=workers,
        make_encoder=partial(load_recorded_encoder, path, encoder_name),
        devices=devices,
    )
    if as_json:
        console.emit_json({"path": str(path), **report.as_dict()})
    else:
        _emit(path, report)
    if report.failed:
        console.report_error(
            f"{path}: {len(report.failed)} items are still damaged",
            "see what each of them needs above, and run the same command again",
        )
        return EXIT_DAMAGE
    return EXIT_OK


def _emit(path: Location, report: RepairReport) -> None:
    facts = report.as_dict()
    for key, says in SAYS.items():
        for item in facts[key]:
            console.emit(f"{item}: {says}")
    for item, reason in report.failed.items():
        console.emit(f"still damaged: {item}: {reason}")
    count = sum(len(facts[key]) for key in SAYS)
    console.emit(f"{path}: {count} mended, {len(report.failed)} still damaged")
