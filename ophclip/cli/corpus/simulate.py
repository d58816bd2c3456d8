# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import click

from ophclip import console
from ophclip.cli.options import json_option, quiet_option, seed_option


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the new corpus.")
@click.option("--narrated", default=64, show_default=True, help="Narrated videos to train on.")
@click.option("--silent", default=48, show_default=True, help="Silent videos to train on.")
@click.option("--test", default=32, show_default=True, help="Silent videos to test on.")
@click.option("--seconds", default=30.0, show_default=True, help="Length of each video.")
@click.option("--size", default=160, show_default=True, help="Width in pixels; the height is 3/4 of it.")
@click.option("--codec", default="h264", show_default=True, type=click.Choice(["h264", "vp9"]))
@click.option("--workers", type=int, help="Processes.  [default: one a CPU]")
@click.option("--layout", help="Write --test operations as this dataset lies on disk (evaluate --list).")
@seed_option
@json_option
@quiet_option
def simulate(
    out: Path,
    narrated: int,
    silent: int,
    test: int,
    seconds: float,
    size: int,
    codec: str,
    workers: int | None,
    layout: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Draw eye surgery with titles, narrations and the truth of every second.

    The same settings give the same bytes; run an interrupted simulation again to finish it.
    """
    if layout is not None:
        _simulate_layout(layout, out, test, seconds, size, workers, seed, as_json)
        return
    from ophclip.corpus.simulate.world import simulate as simulate_corpus

    made = simulate_corpus(
        out,
        narrated=narrated,
        silent=silent,
        test=test,
        seconds=seconds,
        size=size,
        codec="vp9" if codec == "vp9" else "h264",
        seed=seed,
        workers=workers,
    )
    result = {
        "out": str(out),
        "videos": len(made.videos),
        "clips": len(made.clips),
        "truth": str(out / "truth.csv"),
    }
    if as_json:
        console.emit_json(result)
    else:
        console.emit(f"{result['videos']} videos and {result['clips']} clips in {out}")


def _simulate_layout(
    layout: str,
    out: Path,
    videos: int,
    seconds: float,
    size: int,
    workers: int | None,
    seed: int,
    as_json: bool,
) -> None:
    from ophclip.corpus.simulate.layouts import write_layout

    counts = write_layout(layout, out, videos=videos, seconds=seconds, size=size, seed=seed, workers=workers)
    if as_json:
        console.emit_json({"out": str(out), "layout": layout, "counts": counts})
    else:
        told = ", ".join(f"{count} {what.replace('.', ' of ')}" for what, count in counts.items())
        console.emit(f"{layout} in {out}: {told}")
