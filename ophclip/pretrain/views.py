# SPDX-License-Identifier: Apache-2.0
"""Two views of each clip for self-supervision: crop, flip, colour, grey, blur, as in the lineage.

Everything that is linear in colour (brightness, saturation, hue, grey) is one 3 x 3 matrix a frame.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

AREA = (0.08, 1.0)  # of the crop, as a share of the frame's
ASPECT = (3 / 4, 4 / 3)  # of the crop, relative to the frame's
JITTER = 0.4  # of brightness, contrast and saturation
HUE = 0.1  # of a full turn
JITTER_PROBABILITY, GREY_PROBABILITY, BLUR_PROBABILITY, FLIP_PROBABILITY = 0.8, 0.2, 0.5, 0.5
SIGMA = (0.1, 2.0)  # of the blur, in pixels
BLUR_SHARE = 0.1  # of the frame's side that the blur reaches over

_LUMA = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def draw_view(frames: Tensor, rng: np.random.Generator, *, temporally_consistent: bool = False) -> Tensor:
    """Return a random view of uint8 clips `[B, T, H, W, 3]` as float in [0, 1], of the same shape.

    Each frame is augmented by itself, or all frames of a clip alike if `temporally_consistent`. What is
    drawn depends on the state of `rng` alone; two calls give two views.
    """
    num_clips, num_frames = frames.shape[:2]
    count, repeats = (num_clips, num_frames) if temporally_consistent else (num_clips * num_frames, 1)
    pixels = frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 255

    def drawn(values: NDArray[np.floating]) -> Tensor:
        tensor = torch.from_numpy(values.astype(np.float32)).to(pixels.device)
        return tensor.repeat_interleave(repeats, dim=0)

    grid = F.affine_grid(drawn(_crops(count, rng)), list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    pixels = _recolour(pixels, drawn(_colours(count, rng)), drawn(_contrasts(count, rng)))
    pixels = _blur(pixels, drawn(_sigmas(count, rng)))
    return pixels.permute(0, 2, 3, 1).unflatten(0, (num_clips, num_frames))  # type: ignore[no-untyped-call, no-any-return]


def _crops(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the affine maps `[count, 2, 3]` of random resized crops, half of them flipped."""
    area, aspect = (
        rng.uniform(*AREA, count),
        np.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1]), count)),
    )
    width, height = np.minimum(np.sqrt(area * aspect), 1), np.minimum(np.sqrt(area / aspect), 1)
    flip = np.where(rng.uniform(size=count) < FLIP_PROBABILITY, -1.0, 1.0)
    maps = np.zeros((count, 2, 3))
    maps[:, 0, 0], maps[:, 1, 1] = flip * width, height
    maps[:, 0, 2] = rng.uniform(-1, 1, count) * (1 - width)
    maps[:, 1, 2] = rng.uniform(-1, 1, count) * (1 - height)
    return maps


def _colours(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw colour matrices `[count, 3, 3]`: brightness, saturation and hue, or grey."""
    is_jittered = rng.uniform(size=count) < JITTER_PROBABILITY
    brightness, saturation = rng.uniform(1 - JITTER, 1 + JITTER, (2, count))
    angle = 2 * math.pi * rng.uniform(-HUE, HUE, count)
    is_grey = rng.uniform(size=count) < GREY_PROBABILITY
    brightness, saturation = (np.where(is_jittered, x, 1.0) for x in (brightness, saturation))
    angle, saturation = np.where(is_jittered, angle, 0.0), np.where(is_grey, 0.0, saturation)
    chroma = np.zeros((count, 3, 3))  # brightness and saturation scale, hue turns, in the space YIQ
    chroma[:, 0, 0] = 1
    chroma[:, 1, 1] = chroma[:, 2, 2] = saturation * np.cos(angle)
    chroma[:, 1, 2], chroma[:, 2, 1] = -saturation * np.sin(angle), saturation * np.sin(angle)
    matrices: NDArray[np.float64] = brightness[:, None, None] * (_FROM_YIQ @ chroma @ _TO_YIQ)
    return matrices


def _contrasts(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    is_jittered = rng.uniform(size=count) < JITTER_PROBABILITY
    contrasts: NDArray[np.float64] = np.where(is_jittered, rng.uniform(1 - JITTER, 1 + JITTER, count), 1.0)
    return contrasts


def _sigmas(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the widths of blurs in pixels `[count]`, 0 for none."""
    sigmas: NDArray[np.float64] = np.where(
        rng.uniform(size=count) < BLUR_PROBABILITY, rng.uniform(*SIGMA, count), 0.0
    )
    return sigmas


def _recolour(pixels: Tensor, colours: Tensor, contrasts: Tensor) -> Tensor:
    flat = torch.bmm(colours, pixels.flatten(2))
    luma = torch.from_numpy(_LUMA.astype(np.float32)).to(pixels.device)
    mean = (flat.mean(dim=2) @ luma)[:, None, None]
    flat = torch.lerp(mean, flat, contrasts[:, None, None])
    return flat.clamp_(0, 1).view_as(pixels)


def _blur(pixels: Tensor, sigmas: Tensor) -> Tensor:
    chosen = sigmas > 0
    reach = max(1, round(BLUR_SHARE * min(pixels.shape[2:]) / 2))
    if not bool(chosen.any()) or min(pixels.shape[2:]) <= reach:
        return pixels
    place = torch.arange(-reach, reach + 1, device=pixels.device)
    kernels = torch.softmax(-(place**2) / (2 * sigmas[chosen][:, None] ** 2), dim=1)
    some = pixels[chosen]
    count, channels, height, width = some.shape
    kernels = kernels.repeat_interleave(channels, dim=0)[:, None]
    sheet = F.pad(some, (reach,) * 4, mode="reflect").view(1, count * channels, height + 2 * reach, -1)
    sheet = F.conv2d(sheet, kernels[:, :, :, None], groups=count * channels)
    sheet = F.conv2d(sheet, kernels[:, :, None, :], groups=count * channels)
    return pixels.masked_scatter(chosen[:, None, None, None], sheet.view(count, channels, height, width))
