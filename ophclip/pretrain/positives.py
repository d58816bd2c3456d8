# SPDX-License-Identifier: Apache-2.0
"""Lists of positives: pairs of an anchor and a candidate, and the CSR form that the losses take."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ophclip.ops.reference import Positives


class Pairs(NamedTuple):
    """Positives as pairs: anchor `row[p]` and candidate `column[p]`, int64 `[P]` each."""

    row: Tensor
    column: Tensor


def equal_pairs(anchors: Tensor, candidates: Tensor) -> Pairs:
    """Return all pairs of equal numbers, of `anchors` `[M]` and `candidates` `[N]`, by anchor.

    By sorting, not by comparing all with all: batches have thousands of rows, and few of them are equal.
    """
    ordered, order = candidates.sort(stable=True)
    first = torch.searchsorted(ordered, anchors)
    counts = torch.searchsorted(ordered, anchors, right=True) - first
    row = torch.repeat_interleave(torch.arange(anchors.numel(), device=anchors.device), counts)
    nth = torch.arange(row.numel(), device=row.device) - (counts.cumsum(0) - counts)[row]
    return Pairs(row, order[first[row] + nth])


def positive_lists(
    pairs: Pairs, num_rows: int, num_columns: int, weights: tuple[int, float] | None = None
) -> Positives:
    """Return `pairs`, each once, as CSR lists of `num_rows` anchors.

    `weights = (first, w)` gives candidates from column `first` on the weight w, and the others 1.
    """
    place = torch.unique(pairs.row * num_columns + pairs.column)  # sorted, so by row and then by column
    row, column = place // num_columns, place % num_columns
    counts = torch.bincount(row, minlength=num_rows)
    indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    if weights is None:
        return indptr, column, None
    first, weight = weights
    return indptr, column, torch.where(column >= first, weight, 1.0)
