# SPDX-License-Identifier: Apache-2.0
"""Which videos a simulated corpus has: kinds, splits, procedures, and which of them look unusual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ophclip.corpus.manifest import Kind
from ophclip.corpus.simulate.vocabulary import PROCEDURES

# Narrated footage is mostly of what is done every day; the rest of surgery is mostly silent.
RARE = frozenset(
    {
        "manual_small_incision_cataract_surgery",
        "trabeculectomy",
        "pars_plana_vitrectomy",
        "penetrating_keratoplasty",
        "pterygium_surgery",
    }
)
RARE_SHARE_NARRATED = 0.12
RARE_SHARE_SILENT = 0.7
RARE_STYLE_NARRATED = 0.05
RARE_STYLE_ELSEWHERE = 0.3


@dataclass(frozen=True)
class Part:
    """One video to draw; everything in it follows from `seed` and `index` alone."""

    video_id: str
    kind: Kind
    split: str
    procedure: str
    has_rare_style: bool
    seed: int
    index: int


def cast_videos(narrated: int, silent: int, test: int, seed: int) -> list[Part]:
    """Return the videos of a corpus: narrated and silent ones to train on, silent ones to test on.

    The shares of rare procedures are exact up to rounding, and the test split has every procedure equally
    often (to within one).
    """
    rng = np.random.default_rng([seed, 0])
    groups: list[tuple[str, Kind, str, list[str], float]] = [
        ("narrated", "narrated", "train", _mixed(rng, narrated, RARE_SHARE_NARRATED), RARE_STYLE_NARRATED),
        ("silent", "silent", "train", _mixed(rng, silent, RARE_SHARE_SILENT), RARE_STYLE_ELSEWHERE),
        ("test", "silent", "test", _balanced(rng, test), RARE_STYLE_ELSEWHERE),
    ]
    parts: list[Part] = []
    for name, kind, split, procedures, rare_style in groups:
        for number, procedure in enumerate(procedures):
            is_rare = bool(rng.random() < rare_style)
            video_id = f"{name}-{number:05d}"
            parts.append(Part(video_id, kind, split, procedure, is_rare, seed, len(parts)))
    return parts


def _mixed(rng: np.random.Generator, count: int, rare_share: float) -> list[str]:
    rare = [term.key for term in PROCEDURES if term.key in RARE]
    common = [term.key for term in PROCEDURES if term.key not in RARE]
    num_rare = round(count * rare_share)
    drawn = _spread(rng, rare, num_rare) + _spread(rng, common, count - num_rare)
    return [drawn[index] for index in rng.permutation(count)]


def _balanced(rng: np.random.Generator, count: int) -> list[str]:
    return _spread(rng, [term.key for term in PROCEDURES], count)


def _spread(rng: np.random.Generator, keys: list[str], count: int) -> list[str]:
    order = [keys[index] for index in rng.permutation(len(keys))]
    return [order[index % len(order)] for index in range(count)]
