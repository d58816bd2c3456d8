# SPDX-License-Identifier: Apache-2.0
"""Which videos a probe learns from, chooses on and is scored on; always whole videos, always seeded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ophclip.errors import UsageError
from ophclip.evaluate.datasets import Dataset, Item

TRAIN_SHARE, VAL_SHARE = 0.6, 0.2  # of the videos, where there is no official split
CHOICE_SHARE = 0.2  # of the training videos, where the official split has none to choose on


@dataclass(frozen=True)
class Split:
    """Video ids of each part; `source` says whether the dataset gives it."""

    source: str  # "official", "official, val drawn from train", or "drawn"
    seed: int
    train: list[str]
    val: list[str]
    test: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return asdict(self)


def split_of(everything: Dataset, scored: Dataset, *, seed: int) -> Split:
    """Return the split of a dataset: its own, or one that is drawn by video.

    `everything` has the items of all splits, `scored` those that the dataset scores.

    Raises:
        UsageError: there are too few videos.
    """
    test = {item.video_id for item in scored.items}
    rest = [item for item in everything.items if item.video_id not in test]
    rng = np.random.default_rng(seed)
    if not rest:
        return _drawn(everything, rng, seed)
    train = [item.video_id for item in rest if item.split == "train"]
    val = [item.video_id for item in rest if item.split != "train"]
    if not train:
        train, val = val, []
    if val or len(train) < 2:
        return Split("official", seed, sorted(train), sorted(val), sorted(test))
    order = _shuffled(train, rng)
    count = max(1, round(CHOICE_SHARE * len(order)))
    source = "official, val drawn from train"
    return Split(source, seed, sorted(order[count:]), sorted(order[:count]), sorted(test))


def _drawn(data: Dataset, rng: np.random.Generator, seed: int) -> Split:
    order = _shuffled([item.video_id for item in data.items], rng)
    if len(order) < 3:
        raise UsageError(
            f"{data.name} must have 3 videos to be split, got {len(order)}", remedy="fetch all of it"
        )
    train = max(1, round(TRAIN_SHARE * len(order)))
    val = max(1, round(VAL_SHARE * len(order)))
    train = min(train, len(order) - val - 1)
    return Split(
        "drawn", seed, sorted(order[:train]), sorted(order[train : train + val]), sorted(order[train + val :])
    )


def few_shots(classes: Mapping[str, Set[int]], shots: int, *, seed: int) -> list[str]:
    """Return training videos such that each class is shown by `shots` of them, or by all that show it.

    Videos are gone through in a random order, and taken where they show a class that needs one more: so the
    videos of fewer shots are among those of more. `classes` are the classes that each video shows.
    """
    shown: dict[int, int] = {}
    taken = []
    for video_id in _shuffled(list(classes), np.random.default_rng(seed)):
        if any(shown.get(label, 0) < shots for label in classes[video_id]):
            taken.append(video_id)
            for label in classes[video_id]:
                shown[label] = shown.get(label, 0) + 1
    return sorted(taken)


def some_percent(video_ids: Sequence[str], percent: float, *, seed: int) -> list[str]:
    """Return that share of the videos, at least one; a smaller share is among those of a larger one."""
    order = _shuffled(list(video_ids), np.random.default_rng(seed))
    return sorted(order[: max(1, math.ceil(percent / 100 * len(order)))])


def classes_shown(item: Item) -> frozenset[int]:
    """Return the phases of an item, and below -1 its instruments."""
    shown: set[int] = set()
    if item.phases is not None:
        shown |= {int(label) for label in np.unique(item.phases) if label >= 0}
    if item.instruments is not None:
        shown |= {-2 - int(column) for column in np.flatnonzero(item.instruments.any(axis=0))}
    return frozenset(shown)


def _shuffled(video_ids: Sequence[str], rng: np.random.Generator) -> list[str]:
    ordered = sorted(video_ids)  # the order of files must not matter
    return [ordered[place] for place in rng.permutation(len(ordered))]
