# SPDX-License-Identifier: Apache-2.0
"""Exact search among rows that change: what is packed for it is kept, and only what changed packed anew."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ophclip.ops import PackedBase, pack, repack, topk
from ophclip.ops.pack import PackPrecision
from ophclip.ops.reference import Exclusions

PRECISION: PackPrecision = "int8"  # what is scanned on a CPU; what is found is what float32 finds
MOST_CHANGED = 0.25  # share of the rows beyond which all are packed anew

Rows = Callable[[Tensor | None], Tensor]  # the rows of some slots, or of all


class SearchIndex:
    """Searches rows that their owner keeps; it is told which of them changed.

    On a GPU the rows are searched as they lie.
    """

    def __init__(self) -> None:
        self._packed: PackedBase | None = None
        self._changed: list[Tensor] = []

    def mark(self, slots: Tensor) -> None:
        """Note that the rows of `slots` `[n]` changed."""
        self._changed.append(slots)

    def search(
        self, queries: Tensor, k: int, exclude: Exclusions | None, rows: Rows
    ) -> tuple[Tensor, Tensor]:
        """Return scores and slots `[Q, k]` as `ops.topk` does; `rows` gives the rows as they are now."""
        if exclude is not None:
            exclude = (exclude[0].to(queries.device), exclude[1].to(queries.device))
        base = rows(None) if queries.is_cuda else self._current(rows)
        return topk(queries, base, k, exclude=exclude)

    def _current(self, rows: Rows) -> PackedBase:
        changed = torch.unique(torch.cat(self._changed)) if self._changed else None
        if self._packed is None or (
            changed is not None and changed.numel() > MOST_CHANGED * len(self._packed)
        ):
            self._packed = pack(rows(None), PRECISION)
        elif changed is not None:
            repack(self._packed, rows(changed), changed)
        self._changed = []
        return self._packed
