# SPDX-License-Identifier: Apache-2.0
"""The options of the evaluation protocols."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import click

from ophclip.cli.options import Decorator

# Options that mean something to one kind of protocol alone.
OF_PROBES = ("shots", "percents", "seeds", "features", "standardize", "c_grid", "split_seed")
OF_PROMPTS = ("prompts", "variant", "pool", "smooth_s")


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Numbers with commas between them."""

    name = "N,N"

    def __init__(self, kind: type[int] | type[float]) -> None:
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return tuple(self._kind(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 1,4,16", param, ctx)


def _together(*decorators: Decorator) -> Decorator:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        return reduce(lambda inner, outer: outer(inner), reversed(decorators), command)

    return decorate


pooling_options: Decorator = _together(
    click.option(
        "--pool",
        type=click.Choice(["emb", "score"]),
        default="emb",
        show_default=True,
        help="Pool embeddings, or scores of frames.",
    ),
    click.option(
        "--pool-over",
        type=click.Choice(["frame", "clip", "window"]),
        help="What one score is of  [clip in datasets of clips, else frame]",
    ),
    click.option("--window-s", type=float, default=5.0, show_default=True, help="Length of a window."),
)

probe_options: Decorator = _together(
    click.option(
        "--protocol",
        type=click.Choice(["zero-shot", "few-shot", "linear-probe"]),
        default="zero-shot",
        show_default=True,
        help="Compare with sentences, or learn from labelled videos.",
    ),
    click.option("--shots", type=Numbers(int), default="1,4,16", show_default=True, help="Videos a class."),
    click.option(
        "--percents",
        type=Numbers(float),
        default="1,10,100",
        show_default=True,
        help="Shares of the training videos.",
    ),
    click.option("--seeds", type=int, default=3, show_default=True, help="Draws of training videos."),
    click.option(
        "--features",
        type=click.Choice(["projected", "backbone"]),
        default="projected",
        show_default=True,
        help="Joint embeddings, or what the visual tower gives.",
    ),
    click.option(
        "--standardize/--no-standardize",
        default=True,
        show_default=True,
        help="Give features mean 0 and deviation 1.",
    ),
    click.option(
        "--c-grid",
        type=Numbers(float),
        default="1e-5,1e-4,1e-3,1e-2,1e-1,1",
        show_default=True,
        help="C to choose from on validation videos.",
    ),
    click.option(
        "--split-seed", type=int, default=0, show_default=True, help="Of the split, where one is drawn."
    ),
)

bootstrap_options: Decorator = _together(
    click.option(
        "--resamples",
        type=click.IntRange(min=0),
        default=1000,
        show_default=True,
        help="Of videos, for 95 % intervals.",
    ),
    click.option("--bootstrap-seed", type=int, default=0, show_default=True, help="Of these resamples."),
)
