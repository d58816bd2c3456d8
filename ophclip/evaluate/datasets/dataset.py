# SPDX-License-Identifier: Apache-2.0
"""What evaluation asks of a dataset, and the adapters by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ophclip.errors import UsageError, did_you_mean

ADAPTERS = {"simulated": "ophclip.evaluate.datasets.simulated"}

UNSCORED = -1


@dataclass(frozen=True)
class Item:
    """A video to evaluate; row t of the labels is what is seen at second `t / fps` of the dataset."""

    video_id: str
    path: Path
    phases: NDArray[np.int64] | None = None  # [T], -1 where not scored
    instruments: NDArray[np.int64] | None = None  # 0/1 [T, C]


@dataclass(frozen=True)
class Dataset:
    """An evaluation set: items, class names, and where it comes from."""

    name: str
    items: list[Item]
    phase_names: list[str] = field(default_factory=list)
    instrument_names: list[str] = field(default_factory=list)
    fps: float = 1.0
    prompts: str = ""  # file in ophclip/evaluate/prompt_sets
    source: str = ""
    licence: str = ""
    notes: list[str] = field(default_factory=list)  # what a reader of the scores must know


def names() -> list[str]:
    """Name the datasets that can be evaluated."""
    return sorted(ADAPTERS)


def load_dataset(name: str, root: Path, *, keep_background: bool = False) -> Dataset:
    """Read the dataset `name` from its folder.

    Frames outside every phase are not scored unless `keep_background`.

    Raises:
        UsageError: there is no such dataset, or the folder does not hold it as distributed.
    """
    if name not in ADAPTERS:
        raise UsageError(f"no dataset {name!r}", remedy=did_you_mean(name, ADAPTERS))
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder", remedy=f"pass the folder of {name} as --root")
    dataset: Dataset = importlib.import_module(ADAPTERS[name]).load(root, keep_background=keep_background)
    missing = [item for item in dataset.items if not item.path.is_file()]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(dataset.items)} videos of {name} are missing, first {missing[0].path}",
            remedy="finish the download",
        )
    return dataset
