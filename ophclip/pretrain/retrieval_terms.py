# SPDX-License-Identifier: Apache-2.0
"""What retrieved silent videos teach: contrasts in which they are positives beside the row's own partner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ophclip.ops import Level
from ophclip.ops.reference import Exclusions
from ophclip.pretrain.losses import Contrast, Rows, Term, info_nce, own_positives
from ophclip.pretrain.positives import Pairs, equal_pairs, positive_lists

Fuse = Literal["none", "mean"]


@dataclass(frozen=True)
class Live:
    """Retrieved silent videos that were encoded for this step: `slots` int64 `[n]`, distinct."""

    slots: Tensor
    titles: Tensor  # [n, D], not normalised
    videos: Tensor  # [n, D], not normalised


@dataclass(frozen=True)
class Retrieved:
    """What a batch of B narrated videos retrieved from a bank of M silent ones.

    The bank is constant. Some of what was retrieved may have been encoded anew for this step (`live`, its
    rows of all ranks): those rows stand in for the bank's, and carry gradients into the towers.

    Args:
        slots: int64 `[B, K]`, of the whole batch on every rank; -1 where there was nothing to retrieve.
        titles: `[M, D]` normalised title embeddings of the bank.
        videos: `[M, D]` normalised video embeddings of the bank.
        text_ids: int64 `[M]`, `losses.text_ids` of the bank's titles, or None.
        same: CSR lists of the slots `[B]` that are the row's own video once more and so were not
            retrieved for it; they are no negatives of it where another row brings them in.
        live: what was encoded anew, or None.
    """

    slots: Tensor
    titles: Tensor
    videos: Tensor
    text_ids: Tensor | None = None
    same: Exclusions | None = None
    live: Live | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no row retrieved anything."""
        return not bool((self.slots >= 0).any())


@dataclass(frozen=True)
class RetrievalChoices:
    """How retrieved videos enter the loss; the keys of the same names in `PretrainConfig` say more."""

    lambda_ret: float = 1.0
    retrieved_weight: float = 1.0
    fuse: Fuse = "none"
    fuse_beta: float = 1.0


def retrieval_terms(
    titles: Rows,
    videos: Rows,
    views: Rows | None,
    found: Retrieved,
    scale: Tensor,
    ids: Tensor,
    how: Contrast,
    choices: RetrievalChoices,
) -> list[Term]:
    """Contrast titles with silent videos, videos with silent titles, and videos with silent videos.

    The last needs `views`, second views of the same videos. The terms share `lambda_ret` equally. The
    candidates are the batch and every slot that any of its rows retrieved, each slot once: it is a positive
    of the rows that retrieved it or have its title, and a negative of the others. With `fuse="mean"` there
    is one term instead: each video plus the mean of what it retrieved, contrasted with its title.

    Where nothing was retrieved there are no terms.
    """
    if found.is_empty:
        return []
    silent = torch.unique(found.slots[found.slots >= 0])
    if choices.fuse == "mean":
        fused = _fused(videos, found, silent, choices.fuse_beta)
        term = info_nce("fused", fused, titles, scale, ids, how)
        return [Term(term.name, term.levels, choices.lambda_ret)]
    lists = _positives(titles, found, silent, ids, how, choices.retrieved_weight)
    silent_titles, silent_videos = _rows_of(found, silent)
    problems = {
        "title_to_silent_video": (titles, videos, silent_videos),
        "video_to_silent_title": (videos, titles, silent_titles),
    }
    if views is not None:
        problems["video_to_silent_video"] = (videos, views, silent_videos)
    weight = choices.lambda_ret / len(problems)
    terms = []
    for name, (anchors, batch, bank) in problems.items():
        candidates = torch.cat([batch.all, bank.to(batch.all)])
        level = Level(anchors.own, candidates, scale, anchors.share, positives=lists, reduction=how.reduction)
        terms.append(Term(name, [level], weight))
    return terms


def _rows_of(found: Retrieved, silent: Tensor) -> tuple[Tensor, Tensor]:
    """Return titles and videos of the slots `silent` (sorted): those encoded anew, else the bank's."""
    place = silent.to(found.titles.device)
    titles, videos = found.titles[place].detach(), found.videos[place].detach()
    if found.live is None:
        return titles, videos
    at = torch.searchsorted(silent, found.live.slots.to(silent.device)).to(titles.device)
    fresh = (F.normalize(rows.float(), dim=1) for rows in (found.live.titles, found.live.videos))
    titles, videos = (rows.index_copy(0, at, new) for rows, new in zip((titles, videos), fresh, strict=True))
    return titles, videos


def _positives(
    rows: Rows, found: Retrieved, silent: Tensor, ids: Tensor, how: Contrast, weight: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    device, num_batch = rows.all.device, rows.all.shape[0]
    num_own = rows.own.shape[0]
    own = slice(rows.offset, rows.offset + num_own)
    slots = found.slots[own]
    row = torch.arange(num_own, device=slots.device)[:, None].expand_as(slots)
    pairs = [Pairs(row[slots >= 0], torch.searchsorted(silent, slots[slots >= 0]))]
    if how.equal_texts == "positives":
        if found.text_ids is not None:
            pairs.append(equal_pairs(ids[own].to(silent.device), found.text_ids[silent].to(silent.device)))
        if found.same is not None:
            pairs.append(_present(found.same, own, silent))
    batch = own_positives(rows, ids, how)
    every = Pairs(
        torch.cat([batch.row, *(part.row.to(device) for part in pairs)]),
        torch.cat([batch.column, *(part.column.to(device) + num_batch for part in pairs)]),
    )
    weights = None if weight == 1 else (num_batch, weight)
    return positive_lists(every, num_own, num_batch + silent.numel(), weights)


def _present(lists: Exclusions, own: slice, silent: Tensor) -> Pairs:
    """Return the pairs of own rows and columns of `silent` that `lists` name."""
    indptr, indices = (part.to(silent.device) for part in lists)
    bounds = indptr[own.start : own.stop + 1]
    slots = indices[int(bounds[0]) : int(bounds[-1])]
    row = torch.repeat_interleave(torch.arange(bounds.numel() - 1, device=silent.device), bounds.diff())
    is_present = torch.isin(slots, silent)
    return Pairs(row[is_present], torch.searchsorted(silent, slots[is_present]))


def _fused(videos: Rows, found: Retrieved, silent: Tensor, beta: float) -> Rows:
    rows = _rows_of(found, silent)[1]
    is_found = (found.slots >= 0).unsqueeze(-1).to(rows.device)
    place = torch.searchsorted(silent, found.slots.clamp(min=int(silent[0]))).to(rows.device)
    neighbours = torch.where(is_found, rows[place], 0.0)
    mean = neighbours.sum(dim=1) / is_found.sum(dim=1).clamp(min=1)
    every = F.normalize(videos.all + beta * mean.to(videos.all), dim=1)
    if videos.own is videos.all:
        return Rows.whole(every)
    own_mean = mean[videos.offset : videos.offset + videos.own.shape[0]]
    own = F.normalize(videos.own + beta * own_mean.to(videos.own), dim=1)
    return Rows(own, every, videos.offset)
