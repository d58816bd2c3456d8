# SPDX-License-Identifier: Apache-2.0
"""The cells of the ablation: what each adds to, or changes of, the configuration that all share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ophclip.corpus import Corpus

Settings = tuple[str, ...]  # `key=value` overrides of configs/ablation.toml

CLIP: Settings = ("video_steps=0",)
VIDEO: Settings = ()
SIMSIAM: Settings = ('ssl="simsiam"', "lambda_ss=0.3")
CONSTANT: Settings = ("encode_retrieved=0",)


@dataclass(frozen=True)
class World:
    """The simulated corpus; `silent` is the largest pool, of which cells may see less."""

    narrated: int = 112
    silent: int = 160
    test: int = 48
    seconds: int = 30
    size: int = 160
    frame: int = 32  # side of the cached frames that are trained on, in pixels
    fps: float = 2.0


@dataclass(frozen=True)
class Cell:
    """One row of the table; `pool` is the share of the silent videos that it may retrieve from."""

    name: str
    label: str
    settings: Settings
    pool: float = 1.0


def all_cells() -> list[Cell]:
    """Return all rows in the order of the table."""
    return [
        Cell("clip", "clip level alone", CLIP),
        Cell("video", "clip and video level", VIDEO),
        Cell("simsiam", "both levels + SimSiam", SIMSIAM),
        *(Cell(f"k{k}", f"both levels + retrieval, K = {k}", _retrieving(k)) for k in (1, 2, 4, 8, 16)),
        Cell("k4-pool-1x", "the same with K = 4 from a quarter of the silent videos", _retrieving(4), 0.25),
        Cell("k4-constant", "the same with K = 4 from a bank of constants", _retrieving(4) + CONSTANT),
        Cell("full", "both levels + SimSiam + retrieval, K = 4", SIMSIAM + _retrieving(4)),
    ]


def with_pool(corpus: Corpus, share: float) -> Corpus:
    """Return the corpus with the first `share` of its silent training videos; all else is kept."""
    silent = [video.video_id for video in corpus.select(kind="silent", split="train")]
    dropped = set(silent[round(share * len(silent)) :])
    kept = {name: video for name, video in corpus.videos.items() if name not in dropped}
    return Corpus(corpus.root, kept, corpus.clips)


def named(cells: Sequence[Cell], names: Sequence[str]) -> list[Cell]:
    """Return the cells of these names, or all if there are none.

    Raises:
        ValueError: a name is unknown.
    """
    known = {cell.name: cell for cell in cells}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no cell {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(cells)


def _retrieving(k: int) -> Settings:
    return (f"num_retrieved={k}",)
