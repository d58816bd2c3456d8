# SPDX-License-Identifier: Apache-2.0
"""Texts as token ids, so that a training run tokenises each text once and not at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Token ids of n texts, each row filled up with zeros to the longest."""

    ids: Tensor  # int64 [n, L]
    lengths: Tensor  # int64 [n]

    @classmethod
    def of(cls, texts: Sequence[NDArray[np.int32]]) -> Tokens:
        """Put the ids of several texts into one padded array."""
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        ids = np.zeros((len(texts), int(lengths.max(initial=0))), dtype=np.int64)
        if len(texts):
            ids[np.arange(ids.shape[1]) < lengths[:, None]] = np.concatenate(texts)
        return cls(torch.from_numpy(ids), torch.from_numpy(lengths))

    def __len__(self) -> int:
        return self.ids.shape[0]

    def part(self, start: int, stop: int) -> Tokens:
        """Return texts `start` to `stop`, no wider than their longest."""
        lengths = self.lengths[start:stop]
        longest = int(lengths.max()) if len(lengths) else 0
        return Tokens(self.ids[start:stop, :longest], lengths)

    def to(self, device: torch.device | str) -> Tokens:
        """Return the same on a device."""
        return Tokens(self.ids.to(device, non_blocking=True), self.lengths.to(device, non_blocking=True))

    def pin(self) -> Tokens:
        """Return the same in memory from which a GPU copies while the host goes on."""
        return Tokens(self.ids.pin_memory(), self.lengths.pin_memory())

    @property
    def mask(self) -> Tensor:
        """True where there is a token, bool `[n, L]`."""
        places = torch.arange(self.ids.shape[1], device=self.ids.device)
        return places < self.lengths[:, None]


@runtime_checkable
class Tokenizing(Protocol):
    """A text tower whose `__call__` takes `Tokens` as well as texts."""

    def tokenize(self, texts: Sequence[str], max_tokens: int) -> list[NDArray[np.int32]]:
        """Return the ids of each text."""
        ...
