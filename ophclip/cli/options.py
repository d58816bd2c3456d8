# SPDX-License-Identifier: Apache-2.0
"""Options that every command shares, so that they read and behave the same everywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ophclip import console
from ophclip.errors import UsageError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

quiet_option: Decorator = click.option(
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=lambda _context, _parameter, value: console.set_quiet(value),
    help="No talk and no progress on stderr.",
)

set_option: Decorator = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one configuration key."
)

seed_option: Decorator = click.option(
    "--seed", default=0, show_default=True, help="Seed of everything that is drawn."
)

device_option: Decorator = click.option(
    "--device", default="auto", show_default=True, help="auto (a GPU if there is one), cpu, cuda or cuda:N."
)

decoder_option: Decorator = click.option(
    "--decoder",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "dali", "pyav"]),
    help="What decodes video; auto is DALI on a GPU, else PyAV.",
)


batch_size_option: Decorator = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Frames encoded at once; default: 32, or 256 on a GPU.",
)

workers_option: Decorator = click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that decode and encode; default: one a core, or two a GPU. 0: this process alone, "
    "without deadlines.",
)

deadline_option: Decorator = click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Work after which a video counts as hung and fails; default: a minute, and more with its length.",
)

engines_option: Decorator = click.option(
    "--engines",
    type=click.IntRange(min=1),
    help="Videos that each GPU decodes at once; default: its decode engines, where they are known.",
)


def resolve_device(name: str) -> str:
    """Return the device that `--device` names on this machine.

    Raises:
        UsageError: it is not here.
    """
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind not in ("cpu", "cuda") or not (number or "0").isdecimal() or int(number or 0) >= count:
        raise UsageError(f"there is no device {name!r} here", remedy="pass --device auto, or cpu")
    return name


def all_devices(device: str) -> list[str]:
    """Return the devices that `cuda` stands for, each GPU of this machine; any other is itself alone."""
    if device != "cuda":
        return [device]
    import torch

    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def _may_have_gpu() -> bool:
    """Return whether asking torch, which takes a second to import, can find a GPU."""
    return sys.platform != "linux" or any(
        next(Path("/dev").glob(pattern), None) is not None for pattern in ("nvidia*", "dxg", "kfd")
    )
