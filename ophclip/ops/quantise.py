# SPDX-License-Identifier: Apache-2.0
"""Rows rounded for a scan, with bounds of what rounding lost; csrc/cpu/certificate.h proves what they give.

A row is x = m + s p + r: m the centre of the base, s p what is scanned, r the residual. Every norm here is
rounded up, so that a bound made of it stays a bound.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PANEL = 32  # rows of a panel: the layout of every CPU kernel
FACTS = 3  # of a row: scale, residual norm, norm
WORDS = {"bf16": (2, torch.bfloat16), "int8": (4, torch.uint8)}  # values of a word of 32 bits
ZERO_CODE = 128  # codes of 8 bits are stored as unsigned bytes

SMALLEST, LARGEST = 2.0**-40, 2.0**40  # the largest magnitude of a row that is scanned
SMALLEST_NORMAL = 2.0**-126  # bfloat16 instructions take less for zero
EPSILON = 2.0**-23
SAMPLE = 4096  # rows that the centre is taken from
WORTHWHILE = 0.95  # a centre must lower the largest magnitude of most rows by this factor


def centre_of(x: Tensor) -> Tensor:
    """Return the mean of the rows, float32 `[D]`, or zeros if taking it off the rows makes few smaller.

    Any vector is a valid centre; a good one makes what is rounded smaller. Embeddings of one model share a
    large mean, and a few coordinates in which it is far larger than what tells the rows apart.
    """
    sample = x[:: max(1, len(x) // SAMPLE)].double()
    centre = sample.sum(dim=0).div(max(1, len(sample))).float()
    if sample.numel() == 0:
        return centre
    before, after = (rows.abs().amax(dim=1) for rows in (sample, sample - centre))
    is_smaller = after <= WORTHWHILE * before
    return centre if int(is_smaller.sum()) > len(sample) // 2 else torch.zeros_like(centre)


def quantise(rows: Tensor, centre: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Round float32 rows `[n, D]`, n a multiple of 32.

    Returns:
        panels, bfloat16 `[n / 32, ceil(D / 2), 32, 2]` or uint8 `[n / 32, ceil(D / 4), 32, 4]`, and facts,
        float32 `[n / 32, 3, 32]`: scale, residual norm and norm of each row less the centre.
    """
    centred = rows - centre
    largest = centred.abs().amax(dim=1)
    is_scanned = (largest >= SMALLEST) & (largest <= LARGEST)
    if precision == "int8":
        scale = torch.where(is_scanned, largest / 127, 0.0)
        codes = (centred * torch.where(is_scanned, 1 / scale, 0.0)[:, None]).round_().clamp_(-127, 127)
        codes.nan_to_num_()  # an infinite difference times 0
        residual = torch.addcmul(centred, codes, scale[:, None], value=-1)
        panels = _panels(codes.add_(ZERO_CODE).to(torch.uint8), precision)
    else:
        scale = is_scanned.float()
        rounded = torch.where(is_scanned[:, None], centred, 0.0).bfloat16()
        rounded = torch.where(rounded.abs() < SMALLEST_NORMAL, 0.0, rounded)
        residual = centred - rounded
        panels = _panels(rounded, precision)
    facts = torch.stack([scale, *_norms(centred, residual, largest, is_scanned)], dim=1)
    return panels, facts.view(-1, PANEL, FACTS).transpose(1, 2).contiguous()


def _norms(centred: Tensor, residual: Tensor, largest: Tensor, is_scanned: Tensor) -> tuple[Tensor, Tensor]:
    dim = centred.shape[1]
    growth = 1 + (dim + 16) * EPSILON  # what a sum of `dim` squares, its root and the differences may lose
    norm = torch.linalg.vector_norm(centred, dim=1) * growth
    residual_norm = torch.linalg.vector_norm(residual, dim=1) * growth + 4 * EPSILON * norm
    whole = torch.where(largest > 0, largest.clamp(min=SMALLEST) * (math.sqrt(dim) * growth), 0.0)
    return torch.where(is_scanned, residual_norm, whole), torch.where(is_scanned, norm, whole)


def _panels(values: Tensor, precision: str) -> Tensor:
    per_word, dtype = WORDS[precision]
    padded = F.pad(values, (0, -values.shape[1] % per_word), value=ZERO_CODE if precision == "int8" else 0)
    words = padded.view(torch.int32).view(-1, PANEL, padded.shape[1] // per_word).transpose(1, 2)
    return words.contiguous().view(dtype).view(*words.shape, per_word)
