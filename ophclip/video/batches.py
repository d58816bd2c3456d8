# SPDX-License-Identifier: Apache-2.0
"""Stack single pictures into the batches an encoder takes, repeating those that stay on the screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ophclip.video.geometry import Geometry

if TYPE_CHECKING:
    from numpy.typing import NDArray


def batched(
    pictures: Iterable[NDArray[np.uint8]], repeats: NDArray[np.int64], geometry: Geometry, batch_size: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield uint8 `[n, H, W, 3]`, n <= `batch_size`: picture i, `[H, W, 3]`, `repeats[i]` times over.

    Each batch is a new array, so a consumer may keep it.
    """
    total = int(repeats.sum())
    batch, filled = _empty(min(batch_size, total), geometry), 0
    for picture, count in zip(pictures, repeats, strict=True):
        for _ in range(int(count)):
            batch[filled] = picture
            filled, total = filled + 1, total - 1
            if filled == len(batch):
                yield batch
                batch, filled = _empty(min(batch_size, total), geometry), 0


def _empty(size: int, geometry: Geometry) -> NDArray[np.uint8]:
    return np.empty((size, geometry.height, geometry.width, 3), dtype=np.uint8)
