# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ophclip import console
from ophclip.cli.options import json_option, quiet_option
from ophclip.errors import EXIT_OK, EXIT_PARTIAL

if TYPE_CHECKING:
    from ophclip.corpus.info import CorpusInfo

SHOWN_VIDEOS = 10


@click.command()
@click.argument("corpus", type=click.Path(path_type=Path))
@click.option("--no-media", is_flag=True, help="Do not open the videos: no hours.")
@json_option
@quiet_option
def info(corpus: Path, no_media: bool, as_json: bool) -> int:
    """Say what a corpus holds: videos, hours, clips, words, and the terms that are named in it.

    Videos whose length cannot be read are listed, and the exit code is 3.
    """
    from ophclip.corpus.info import corpus_info

    found = corpus_info(corpus, media=not no_media)
    if as_json:
        console.emit_json(found.as_dict())
    else:
        _print(found)
    return EXIT_PARTIAL if found.unreadable else EXIT_OK


def _print(found: CorpusInfo) -> None:
    told = found.as_dict()
    rows = [
        ["videos", *(f"{told['videos'][kind]:,}" for kind in ("narrated", "silent", "total"))],
    ]
    if found.hours:
        rows.append(["hours", *(f"{told['hours'][kind]:,.2f}" for kind in ("narrated", "silent", "total"))])
    for split, counts in told["splits"].items():
        cells = [counts.get("narrated", 0), counts.get("silent", 0), sum(counts.values())]
        rows.append([f"split {split}", *(f"{cell:,}" for cell in cells)])
    console.emit_table(str(found.path), ["", "narrated", "silent", "total"], rows)
    console.emit(
        f"{found.clips:,} clips ({_figure(told['clips_per_narrated_video'])} a narrated video, "
        f"{_figure(told['mean_clip_s'])} s on average), {found.words:,} words "
        f"({_figure(told['words_per_clip'])} a clip), vocabulary {found.vocabulary:,}"
    )
    console.emit(f"{found.titles:,} titles, {found.structured_titles:,} structured")
    attributes = [
        [
            name,
            f"{counts['mentions']:,}",
            f"{counts['terms']:,}",
            f"{counts['clips']:,}",
            f"{counts['videos']:,}",
            ", ".join(f"{term} {count:,}" for term, count in counts["top"].items()),
        ]
        for name, counts in told["attributes"].items()
    ]
    console.emit_table(
        "terms named", ["category", "mentions", "terms", "clips", "videos", "most often"], attributes
    )
    for video_id, problem in found.unreadable[:SHOWN_VIDEOS]:
        console.emit(f"no length: {video_id}: {problem}")
    if len(found.unreadable) > SHOWN_VIDEOS:
        console.emit(f"... and {len(found.unreadable) - SHOWN_VIDEOS} more (--json has all)")


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:,.1f}"
