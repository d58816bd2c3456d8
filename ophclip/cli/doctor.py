# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ophclip import console
from ophclip.cli.options import json_option, quiet_option

if TYPE_CHECKING:
    from ophclip.doctor import Diagnosis


@click.command()
@json_option
@quiet_option
def doctor(as_json: bool) -> None:
    """What this machine has, and what is missing on it."""
    from ophclip.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        console.emit_json(diagnosis.as_dict())
    else:
        _show(diagnosis)


def _show(found: Diagnosis) -> None:
    native = f"yes, {found.isa}" if found.native else f"no: {found.native_reason}"
    native_cuda = f"yes, {found.native_cuda_path}" if found.native_cuda else f"no: {found.native_cuda_reason}"
    rows = [
        ["ophclip", f"{found.ophclip} on Python {found.python}, {found.machine}, {found.cpus} CPUs"],
        ["native kernels", native],
        ["CUDA kernels", native_cuda],
        ["GPU", found.gpu or "none"],
        ["FFmpeg (of PyAV)", f"libavcodec {found.ffmpeg}"],
        ["decoders", _present(found.decoders)],
        ["decodes", _present(found.decodes)],
        ["encodes", _present(found.encodes)],
        *([package, version or "not installed"] for package, version in found.versions.items()),
    ]
    console.emit_table("ophclip doctor", ["what", "found"], rows)
    for advice in found.advice:
        console.emit(f"- {advice}")


def _present(found: dict[str, bool]) -> str:
    return ", ".join(name if present else f"{name} (missing)" for name, present in found.items())
