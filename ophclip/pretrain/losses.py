# SPDX-License-Identifier: Apache-2.0
"""The contrasts of both levels as `ops.Level` problems, solved by one `hierarchical_contrastive_loss` call.

Rows are normalised embeddings. `groups` number what counts as the same text: equal narrations or titles
are positives of one another, not negatives.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ophclip.ops import Level
from ophclip.ops.contrastive import Reduction
from ophclip.ops.reference import Positives

Named = dict[str, list[Level]]


def text_groups(texts: Sequence[str]) -> Tensor:
    """Number the distinct texts, compared without case and spacing: int64 `[B]`."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(" ".join(text.lower().split()), len(numbers)) for text in texts])


def info_nce(a: Tensor, b: Tensor, scale: Tensor, groups: Tensor, reduction: Reduction) -> list[Level]:
    """Contrast row i of `a` `[B, D]` with row i of `b` `[B, D]`, both ways; equal groups are positives."""
    if len(set(groups.tolist())) == groups.numel():
        return [Level(a, b, scale)]
    positives = _positives(groups[:, None] == groups[None, :], a.device)
    return [
        Level(a, b, scale, weight=0.5, positives=positives, reduction=reduction),
        Level(b, a, scale, weight=0.5, positives=positives, reduction=reduction),
    ]


def retrieval_levels(
    titles: Tensor,  # [B, D]
    videos: Tensor,  # [B, D]
    slots: Tensor,  # int64 [B, K]: bank slots retrieved for each narrated video
    keys: Tensor,  # [M, D]: the bank's title embeddings
    values: Tensor,  # [M, D]: the bank's video embeddings
    scale: Tensor,
    groups: Tensor,
    reduction: Reduction,
) -> Named:
    """Add the retrieved silent videos as positives: title to silent video, and video to silent title.

    The candidates are the batch and every slot that it retrieved, each slot once: a slot retrieved for one
    row and not for another is a positive of the first and a negative of the second.
    """
    distinct, place = torch.unique(slots, return_inverse=True)
    is_retrieved = torch.zeros(slots.shape[0], distinct.numel(), dtype=torch.bool)
    is_retrieved.scatter_(1, place.view_as(slots), True)
    own = groups[:, None] == groups[None, :]
    positives = _positives(torch.cat([own, is_retrieved], dim=1), titles.device)

    def level(anchors: Tensor, batch: Tensor, memory: Tensor) -> Level:
        candidates = torch.cat([batch, memory[distinct].to(batch)])
        return Level(anchors, candidates, scale, weight=0.5, positives=positives, reduction=reduction)

    return {
        "title_to_silent_video": [level(titles, videos, values)],
        "video_to_silent_title": [level(videos, titles, keys)],
    }


def _positives(is_positive: Tensor, device: torch.device) -> Positives:
    counts = is_positive.sum(dim=1)
    indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return indptr.to(device), is_positive.nonzero()[:, 1].to(device), None
