# SPDX-License-Identifier: Apache-2.0
"""What turns frames into rows: handed in, so that the cache knows no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from ophclip.video import Geometry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Encoder(Protocol):
    """Encodes frames; `key` holds everything that would change its rows, such as a hash of its weights."""

    @property
    def name(self) -> str: ...

    @property
    def row_shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Literal["float16", "uint8"]: ...

    @property
    def geometry(self) -> Geometry: ...

    @property
    def key(self) -> dict[str, str]: ...

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        """Encode uint8 frames `[n, H, W, 3]` of `geometry` as rows `[n, *row_shape]` of `dtype`."""
        ...


class FrameRows:
    """Stores the frames themselves, uint8 `[H, W, 3]`, for training encoders."""

    name = "frames"
    dtype: Literal["uint8"] = "uint8"

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.row_shape = (geometry.height, geometry.width, 3)
        self.key: dict[str, str] = {"encoder": self.name}

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frames as they are."""
        return frames
