# SPDX-License-Identifier: Apache-2.0
"""Built-in towers that need no download: small enough to train on a CPU, for demos, tests and baselines."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ophclip.models.pixels import Standardize
from ophclip.models.tokens import Tokens

WIDTHS = (32, 64, 128, 192)
VISION_DROPOUT = 0.2
NUM_BUCKETS = 8192
TEXT_WIDTH = 192
TOKEN_DROPOUT = 0.3  # in training: a sentence must not be known by its oddest word


class TinyVision(nn.Module):
    """A small CNN; about 60 million multiply-adds for a frame of 96 x 96 pixels."""

    dim = 2 * WIDTHS[-1]
    image_size = 96

    def __init__(self) -> None:
        super().__init__()
        # Colour and exposure are the microscope's and the camera's; what is left is the operation's.
        self.standardize = Standardize()
        stages = [_conv(3, WIDTHS[0], size=5, stride=2)]
        stages += [_conv(before, width, size=3, stride=2) for before, width in pairwise(WIDTHS[:-1])]
        stages += [_conv(WIDTHS[-2], WIDTHS[-1], size=3, stride=1)]
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(VISION_DROPOUT)

    @property
    def blocks(self) -> list[nn.Module]:
        """The convolutions with their norms, first to last."""
        return list(self.stages)

    @property
    def stem(self) -> nn.Module | None:
        """None: the first block is the stem."""
        return None

    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames `[N, H, W, 3]` (uint8, or float in [0, 1]) as features `[N, dim]`."""
        maps = self.stages(self.standardize(frames))
        # The mean says how much of a thing is in view, the maximum whether it is there at all.
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1).float()
        return cast(Tensor, self.dropout(pooled))


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

    @property
    def blocks(self) -> list[nn.Module]:
        """The one block, behind the pooling."""
        return [self.mix]

    @property
    def stem(self) -> nn.Module | None:
        """None: the embeddings of tokens keep little."""
        return None

    def tokenize(self, texts: Sequence[str], max_tokens: int) -> list[NDArray[np.int32]]:
        """Return the ids of the first `max_tokens` words of each text and of their trigrams."""
        return [np.array(_token_ids(text, max_tokens) or [1], dtype=np.int32) for text in texts]

    def forward(self, texts: Sequence[str] | Tokens, max_tokens: int) -> Tensor:
        """Encode `texts` as `[n, dim]`, reading at most `max_tokens` words of each."""
        tokens = texts if isinstance(texts, Tokens) else Tokens.of(self.tokenize(texts, max_tokens))
        ids = tokens.ids.to(self.embedding.weight.device)
        if self.training:
            ids = ids * (torch.rand(ids.shape, device=ids.device) >= TOKEN_DROPOUT)
        # Pooled as a bag: the rows of all places, gigabytes for thousands of texts, are never laid out.
        importance = self.importance(self.embedding.weight)
        scores = F.embedding(ids, importance).squeeze(-1).masked_fill(ids == 0, -1e4)
        shares = scores.softmax(dim=1, dtype=torch.float32)
        pooled = F.embedding_bag(ids, self.embedding.weight, per_sample_weights=shares, mode="sum")
        mixed: Tensor = self.mix(pooled)
        return pooled + mixed


def _conv(in_channels: int, out_channels: int, *, size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _token_ids(text: str, max_tokens: int) -> list[int]:
    pieces = []
    for word in re.findall(r"\w+", text.lower())[:max_tokens]:
        marked = f"<{word}>"
        pieces.append(marked)
        pieces += [marked[start : start + 3] for start in range(0, len(marked) - 2, 2)]
    return [1 + zlib.crc32(piece.encode()) % NUM_BUCKETS for piece in pieces]
