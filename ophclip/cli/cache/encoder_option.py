# SPDX-License-Identifier: Apache-2.0
"""Which encoder makes the rows: the one that was asked for, or the one that a cache was built with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ophclip.cli.options import resolve_device

if TYPE_CHECKING:
    from ophclip.cache import Encoder
    from ophclip.cache.location import Location

recorded_encoder_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--encoder",
    "encoder_name",
    help="What made the rows, as in cache build. Default: by the name in the cache; frames need none.",
)


def encoder_maker(stream: str, name: str, size: int | None) -> Callable[[str], Encoder]:
    """Return what makes, on a device, the encoder of `--stream` features or frames; it can be pickled."""
    if stream == "frames":
        from ophclip.cache import FrameRows
        from ophclip.cache.messages import Given
        from ophclip.video import Geometry

        side = size or 224
        return Given(FrameRows(Geometry(side, side, "crop")))
    if size is not None:
        raise click.UsageError("the size of --stream features is the encoder's own; leave --size out")
    from ophclip.models import load_encoder

    return partial(load_encoder, name)


def load_recorded_encoder(path: Location, name: str | None, device: str) -> Encoder | None:
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
