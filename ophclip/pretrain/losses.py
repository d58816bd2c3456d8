# SPDX-License-Identifier: Apache-2.0
"""The contrasts of both levels as `ops.Level` problems.

Training is data-parallel: a rank contrasts its own rows with the rows of all ranks, in both directions. The
loss of a rank is its share of the whole batch's loss, its rows out of all: **summed over the ranks, losses
and gradients are those of one process with the whole batch**. Where gradients are averaged over W ranks
(DistributedDataParallel), multiply the loss by W before the backward pass.

Rows are normalised embeddings. `text_ids` number the texts of the whole batch: rows of one text are
positives of one another (or negatives, as configured).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ophclip.ops import Level, hierarchical_contrastive_loss
from ophclip.ops.contrastive import Reduction
from ophclip.pretrain.positives import Pairs, equal_pairs, positive_lists

EqualTexts = Literal["positives", "negatives"]


@dataclass(frozen=True)
class Rows:
    """One side of a contrast: this rank's rows, all ranks' rows, and where its own lie among all.

    `all` must carry gradients back to the ranks that own its rows (reduced over ranks, not sliced).
    """

    own: Tensor  # [b, D]
    all: Tensor  # [B, D]
    offset: int = 0

    @classmethod
    def whole(cls, rows: Tensor) -> Rows:
        """The rows of a batch that one process holds, `[B, D]`."""
        return cls(rows, rows)

    @property
    def is_whole(self) -> bool:
        """Whether this rank holds every row."""
        return self.own.shape[0] == self.all.shape[0]

    @property
    def share(self) -> float:
        """Own rows out of all."""
        return self.own.shape[0] / max(1, self.all.shape[0])

    def normalised(self) -> Rows:
        """The same rows in float32 and of length 1."""
        every = F.normalize(self.all.float(), dim=1)
        own = every if self.own is self.all else F.normalize(self.own.float(), dim=1)
        return Rows(own, every, self.offset)


@dataclass(frozen=True)
class Term:
    """A named part of the loss: `weight` times the weighted sum of its levels."""

    name: str
    levels: list[Level]
    weight: float = 1.0


@dataclass(frozen=True)
class Contrast:
    """What all contrasts of a run share.

    Args:
        reduction: how several positives of a row combine, "logsum" (MIL-NCE) or "meanlog" (SupCon).
        equal_texts: whether rows of one text are "positives" or "negatives" of one another.
        symmetric: contrast texts with videos too, not only videos with texts.
    """

    reduction: Reduction = "logsum"
    equal_texts: EqualTexts = "positives"
    symmetric: bool = True


def text_ids(texts: Sequence[str]) -> Tensor:
    """Number texts, compared without case and spacing: int64 `[B]`, the same on every rank."""
    digests = [hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=8) for text in texts]
    numbers = [int.from_bytes(digest.digest(), "little", signed=True) for digest in digests]
    return torch.tensor(numbers, dtype=torch.int64)


def info_nce(name: str, a: Rows, b: Rows, scale: Tensor, ids: Tensor, how: Contrast) -> Term:
    """Contrast row i of `a` with row i of `b`, both ways (a to b only if not symmetric).

    Args:
        name: of the term.
        a: clips or videos.
        b: their texts; as many rows, with the same offset.
        scale: inverse temperature, a 0-d tensor.
        ids: int64 `[B]`, `text_ids` of the whole batch.
        how: choices of the run.
    """
    pairs = _own_pairs(a, ids, how)
    if how.symmetric and a.is_whole and pairs.row.numel() == a.own.shape[0]:
        return Term(name, [Level(a.own, b.own, scale)])  # the logits serve both ways
    positives = positive_lists(pairs, a.own.shape[0], a.all.shape[0])
    sides = [(a.own, b.all), (b.own, a.all)] if how.symmetric else [(a.own, b.all)]
    weight = a.share / len(sides)
    levels = [
        Level(anchors, candidates, scale, weight, positives=positives, reduction=how.reduction)
        for anchors, candidates in sides
    ]
    return Term(name, levels)


def own_positives(rows: Rows, ids: Tensor, how: Contrast) -> Pairs:
    """Return which rows of the batch are positives of this rank's rows: its own, and those of its text."""
    return _own_pairs(rows, ids, how)


def solve(terms: Sequence[Term], extra: Sequence[tuple[str, float, Tensor]] = ()) -> tuple[Tensor, Parts]:
    """Add up all terms of a step, the contrasts through one native call.

    Args:
        terms: contrasts; at least one.
        extra: other terms as (name, weight, this rank's share of the value).

    Returns:
        This rank's share of the loss, and its share of each term without the term's weight.
    """
    levels = [replace(level, weight=term.weight * level.weight) for term in terms for level in term.levels]
    total, values = hierarchical_contrastive_loss(levels)
    parts: Parts = {}
    first = 0
    for term in terms:
        last = first + len(term.levels)
        weights = values.new_tensor([level.weight for level in term.levels])
        parts[term.name] = (weights * values[first:last]).sum()
        first = last
    for name, weight, value in extra:
        total = total + weight * value
        parts[name] = value.detach()
    return total, parts


Parts = dict[str, Tensor]


def _own_pairs(rows: Rows, ids: Tensor, how: Contrast) -> Pairs:
    own = slice(rows.offset, rows.offset + rows.own.shape[0])
    if how.equal_texts == "negatives":
        ids = torch.arange(rows.all.shape[0], device=rows.all.device)
    ids = ids.to(rows.all.device)
    return equal_pairs(ids[own], ids)
