# SPDX-License-Identifier: Apache-2.0
"""From stored frames to network input: uint8 `[N, H, W, 3]` to normalised float32 `[N, 3, H, W]`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
        """Take uint8 `[N, H, W, 3]`, or float in [0, 1] of that shape; return `[N, 3, H, W]`."""
        pixels = frames.permute(0, 3, 1, 2)  # a channels-last view: convolutions on a CPU like it
        pixels = pixels.float() / 255 if frames.dtype == torch.uint8 else pixels
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return (pixels - mean) / std
