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


precision_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    help="Of the encoder's arithmetic; default: bf16 on a GPU, else fp32. Rows of both are not mixed.",
)


def encoder_maker(
    stream: str, name: str, size: int | None, device: str, precision: str | None = None
) -> Callable[[str], Encoder]:
    """Return what makes, on a device, the encoder of `--stream` features or frames; it can be pickled.

    Its precision is that of `device` if none is given, wherever it is made.
    """
    if stream == "frames":
        from ophclip.cache import FrameRows
        from ophclip.cache.messages import Given
        from ophclip.video import Geometry

        side = size or 224
        return Given(FrameRows(Geometry(side, side, "crop")))
    if size is not None:
        raise click.UsageError("the size of --stream features is the encoder's own; leave --size out")
    from ophclip.models import load_encoder
    from ophclip.models.encoders import default_precision

    return partial(load_encoder, name, precision=precision or default_precision(device))


def load_recorded_encoder(path: Location, name: str | None, device: str) -> Encoder | None:
    """Load the encoder `name`, or the one that a cache names; None where it holds frames.

    Its precision is that of the rows in the cache.

    Raises:
        UsageError: there is no cache, or no such encoder on this machine.
    """
    from ophclip.cache import FrameRows
    from ophclip.cache.layout import read_root

    provenance = read_root(path)
    recorded = str(provenance["encoder"])
    if name is None and recorded == FrameRows.name:
        return None
    from ophclip.models import load_encoder

    precision = provenance["key"].get("precision")
    return load_encoder(name or recorded, resolve_device(device), precision=precision)
