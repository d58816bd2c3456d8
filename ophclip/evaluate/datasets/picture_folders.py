# SPDX-License-Identifier: Apache-2.0
"""Make a recording of the pictures of one video: in order, with 0/1 for each class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ophclip.evaluate.datasets.coco import Picture
from ophclip.evaluate.datasets.media import PICTURE_SUFFIXES, files_under
from ophclip.evaluate.datasets.reading import Recording


def pictures_by_name(root: Path) -> dict[str, list[Path]]:
    """Return the pictures below a folder by their file name."""
    found: dict[str, list[Path]] = {}
    for path in files_under(root):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            found.setdefault(path.name, []).append(path)
    return found


def recording_of(video_id: str, pictures: Sequence[Picture], num_classes: int, split: str = "") -> Recording:
    """Return the recording of a video's pictures, ordered by the numbers in their names."""
    ordered = sorted(pictures, key=lambda picture: _natural(picture.path.name))
    presence = np.zeros((len(ordered), num_classes), dtype=np.int64)
    for row, picture in zip(presence, ordered, strict=True):
        row[sorted(picture.labels)] = 1
    return Recording(
        video_id,
        ordered[0].path.parent,
        ordered[0].file,
        split=split,
        presence=presence,
        pictures=tuple(picture.path for picture in ordered),
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which picture 2 comes before picture 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
