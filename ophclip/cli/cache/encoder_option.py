# SPDX-License-Identifier: Apache-2.0
"""`--encoder` of the commands that make rows of a cache anew: by default the one that made it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ophclip.cli.options import resolve_device

if TYPE_CHECKING:
    from ophclip.cache import Encoder

recorded_encoder_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--encoder",
    "encoder_name",
    help="What made the rows, as in cache build. Default: by the name in the cache; frames need none.",
)


def load_recorded_encoder(path: Path, name: str | None, device: str) -> Encoder | None:
    """Load the encoder `name`, or the one that a cache names; None where it holds frames.

    Raises:
        UsageError: there is no cache, or no such encoder on this machine.
    """
    from ophclip.cache import FrameRows
    from ophclip.cache.layout import read_root

    recorded = str(read_root(path)["encoder"])
    if name is None and recorded == FrameRows.name:
        return None
    from ophclip.models import load_encoder

    return load_encoder(name or recorded, resolve_device(device))
