# SPDX-License-Identifier: Apache-2.0
"""How a picture of any size becomes one of the encoder's size; part of what a cache is keyed by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ophclip.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Geometry:
    """The output size in pixels and the way there.

    `crop` scales, keeping the aspect, until the picture just covers the size, then cuts the centre;
    `stretch` scales both sides independently.
    """

    height: int
    width: int
    mode: Literal["crop", "stretch"] = "crop"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise UsageError(
                f"a frame size must be positive, got {self.height}x{self.width}", remedy="pass 224, say"
            )
        if self.mode not in ("crop", "stretch"):
            raise UsageError(f"geometry mode must be crop or stretch, got {self.mode!r}", remedy="pick one")

    def scaled_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) to scale a picture of that size to, before the cut."""
        if self.mode == "stretch":
            return self.width, self.height
        if self.height * width >= self.width * height:  # wider than asked for: the heights must meet
            return max(self.width, round(width * self.height / height)), self.height
        return self.width, max(self.height, round(height * self.width / width))

    def cut(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the centre of a scaled picture `[..., h, w, 3]` as a view `[..., height, width, 3]`."""
        top = (picture.shape[-3] - self.height) // 2
        left = (picture.shape[-2] - self.width) // 2
        return picture[..., top : top + self.height, left : left + self.width, :]

    def __str__(self) -> str:
        return f"{self.mode} {self.height}x{self.width}"
