# SPDX-License-Identifier: Apache-2.0
"""What a decoder hands out: NumPy arrays of frames, or torch tensors that lie where they were decoded.

Tensors may lie in memory that the decoder lent (DLPack). It stays theirs for as long as they, or any view of
them, are alive. On a GPU a tensor must be kept until the work that reads it is done, not only queued: its
memory goes back to the decoder, which knows nothing of torch's streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Pixels: TypeAlias = NDArray[np.uint8] | Tensor


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class FrameFormat:
    """In which form frames are wanted.

    Without `as_tensors` they are uint8 arrays `[n, H, W, 3]`. With it they may also be uint8 tensors of that
    shape, or, where `normalization` is given and the decoder applies it, float16 tensors `[n, 3, H, W]`.
    """

    as_tensors: bool = False
    normalization: Normalization | None = None


ARRAYS = FrameFormat()
