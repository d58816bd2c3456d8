# SPDX-License-Identifier: Apache-2.0
"""Random views of clips: one rotation, zoom, shift, flip and colour for all frames of a clip."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

MAX_ROTATION = math.pi  # a microscope has no up: surgeons sit at any side of the eye
ZOOM = (0.7, 1.05)  # share of the frame's side that stays in view
MAX_SHIFT = 0.12
GAIN = 0.3  # of each colour channel, and of the contrast
BIAS = 0.12


def augment_clips(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a random view of uint8 clips `[B, T, H, W, 3]` as float in [0, 1], of the same shape and device.

    What is drawn depends on `rng` alone, not on the device.
    """
    num_clips, num_frames = frames.shape[:2]
    pixels = frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 255

    def drawn(values: NDArray[np.floating]) -> Tensor:
        tensor = torch.from_numpy(values.astype(np.float32)).to(pixels.device)
        return tensor.repeat_interleave(num_frames, dim=0)

    grid = F.affine_grid(drawn(_affine(num_clips, rng)), list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    gain = drawn(rng.uniform(1 - GAIN, 1 + GAIN, (num_clips, 3, 1, 1)))
    bias = drawn(rng.uniform(-BIAS, BIAS, (num_clips, 3, 1, 1)))
    pixels = ((pixels - 0.5) * gain + 0.5 + bias).clamp_(0, 1)
    return pixels.permute(0, 2, 3, 1).unflatten(0, (num_clips, num_frames))  # type: ignore[no-untyped-call, no-any-return]


def _affine(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION, count)
    zoom = rng.uniform(*ZOOM, count)
    flip = rng.choice([-1.0, 1.0], count)
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, (count, 2))
    matrix = np.empty((count, 2, 3), dtype=np.float32)
    matrix[:, 0, 0], matrix[:, 0, 1] = flip * zoom * np.cos(angle), -zoom * np.sin(angle)
    matrix[:, 1, 0], matrix[:, 1, 1] = flip * zoom * np.sin(angle), zoom * np.cos(angle)
    matrix[:, :, 2] = shift
    return matrix
