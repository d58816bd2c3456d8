# SPDX-License-Identifier: Apache-2.0
"""From stored frames `[N, H, W, 3]`, uint8 or float in [0, 1], to network input, float32 `[N, 3, H, W]`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LEAST_CONTRAST = 0.03  # keeps the noise of a black frame from being blown up


class Normalize(nn.Module):
    """Scale uint8 frames by a mean and standard deviation a channel."""

    def __init__(
        self,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Return frames `[N, H, W, 3]` as `[N, 3, H, W]`."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return (_planes(frames) - mean) / std


class Standardize(nn.Module):
    """Give each channel of each frame mean 0 and standard deviation 1: colour casts and exposure go."""

    def forward(self, frames: Tensor) -> Tensor:
        """Return frames `[N, H, W, 3]` as `[N, 3, H, W]`."""
        pixels = _planes(frames)
        std, mean = torch.std_mean(pixels, dim=(2, 3), keepdim=True, correction=0)
        return (pixels - mean) / (std + LEAST_CONTRAST)


def _planes(frames: Tensor) -> Tensor:
    pixels = frames.permute(0, 3, 1, 2)  # a channels-last view: convolutions on a CPU like it
    return pixels.float() / 255 if frames.dtype == torch.uint8 else pixels
