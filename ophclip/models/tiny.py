# SPDX-License-Identifier: Apache-2.0
"""Built-in towers that need no download: small enough to train on a CPU, for demos, tests and baselines."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ophclip.models.pixels import Normalize

WIDTHS = (32, 64, 128, 256)
NUM_BUCKETS = 8192
TEXT_WIDTH = 192


class TinyVision(nn.Module):
    """A small residual CNN; about 45 million multiply-adds for a frame of 96 x 96 pixels."""

    dim = 2 * WIDTHS[-1]
    image_size = 96

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize()
        # A stride of 4 at once: early maps are all memory traffic, which is what a CPU is short of.
        stages: list[nn.Module] = [_conv(3, WIDTHS[0], size=7, stride=4), _Residual(WIDTHS[0])]
        for before, width in pairwise(WIDTHS):
            stages += [_conv(before, width, size=3, stride=2), _Residual(width)]
        self.stages = nn.Sequential(*stages)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames `[N, H, W, 3]` (uint8, or float in [0, 1]) as features `[N, dim]`."""
        maps = self.stages(self.normalize(frames))
        # The mean says how much of a thing is in view, the maximum whether it is there at all.
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1).float()


class TinyText(nn.Module):
    """Hashed words and letter trigrams, pooled by attention; trigrams survive slips of speech recognition."""

    dim = TEXT_WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(NUM_BUCKETS + 1, TEXT_WIDTH, padding_idx=0)
        self.importance = nn.Linear(TEXT_WIDTH, 1)
        self.mix = nn.Sequential(
            nn.Linear(TEXT_WIDTH, 2 * TEXT_WIDTH), nn.GELU(), nn.Linear(2 * TEXT_WIDTH, TEXT_WIDTH)
        )
        nn.init.normal_(self.embedding.weight, std=0.3)

    def forward(self, texts: Sequence[str], max_tokens: int) -> Tensor:
        """Encode `texts` as `[n, dim]`, reading at most `max_tokens` words of each."""
        ids = _tokenize(texts, max_tokens).to(self.embedding.weight.device)
        tokens = self.embedding(ids)
        scores = self.importance(tokens).squeeze(-1).masked_fill(ids == 0, -1e4)
        pooled = torch.einsum("nt,ntd->nd", scores.softmax(dim=1), tokens)
        mixed: Tensor = self.mix(pooled)
        return pooled + mixed


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(maps + self.body(maps))


def _conv(in_channels: int, out_channels: int, *, size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _tokenize(texts: Sequence[str], max_tokens: int) -> Tensor:
    rows = [_token_ids(text, max_tokens) or [1] for text in texts]
    ids = torch.zeros(len(rows), max(map(len, rows), default=1), dtype=torch.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    return ids


def _token_ids(text: str, max_tokens: int) -> list[int]:
    pieces = []
    for word in re.findall(r"\w+", text.lower())[:max_tokens]:
        marked = f"<{word}>"
        pieces.append(marked)
        pieces += [marked[start : start + 3] for start in range(0, len(marked) - 2, 2)]
    return [1 + zlib.crc32(piece.encode()) % NUM_BUCKETS for piece in pieces]
