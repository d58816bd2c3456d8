# SPDX-License-Identifier: Apache-2.0
"""The loss of a step, from the embeddings of its batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ophclip.errors import UsageError
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.losses import Contrast, Parts, Rows, info_nce, solve
from ophclip.pretrain.retrieval_terms import RetrievalChoices, Retrieved, retrieval_terms
from ophclip.pretrain.self_supervision import SimCLR, SimSiam


@dataclass(frozen=True)
class Loss:
    """A rank's share of a step's loss; summed over ranks it is that of the whole batch.

    `parts` holds the share of each term, without the term's weight and without gradients.
    """

    total: Tensor
    parts: Parts


class Objective(nn.Module):
    """Turns embeddings into the loss; holds the heads of self-supervision, which train with the model.

    Embeddings come as the towers give them, `Rows` of `[b, D]` and `[B, D]`: they are normalised here.
    """

    def __init__(self, config: PretrainConfig, *, has_frames: bool) -> None:
        super().__init__()
        self.contrast = Contrast(config.reduction, config.equal_texts, config.symmetric)
        self.retrieval = RetrievalChoices(
            config.lambda_ret, config.retrieved_weight, config.fuse, config.fuse_beta
        )
        self.lambda_ss = config.lambda_ss
        self.max_scale = config.max_scale
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.ssl = _heads(config, has_frames)

    @property
    def needs_views(self) -> bool:
        """Whether `clip_loss` needs two augmented views of each clip."""
        return self.ssl is not None

    def clip_loss(
        self,
        clips: Rows,
        narrations: Rows,
        ids: Tensor,
        scale: Tensor,
        views: tuple[Rows, Rows] | None = None,
    ) -> Loss:
        """Contrast clips with narrations, and bring two views of each clip together.

        Args:
            clips: means over the frames of each clip.
            narrations: texts, row for row.
            ids: int64 `[B]`, `losses.text_ids` of all narrations.
            scale: inverse temperature, a 0-d tensor.
            views: means over the frames of two augmented views; needed if `needs_views`.
        """
        terms = [info_nce("clip", clips.normalised(), narrations.normalised(), scale, ids, self.contrast)]
        if self.ssl is None:
            return Loss(*solve(terms))
        if views is None:
            raise ValueError("views must be given where the objective needs_views")
        if isinstance(self.ssl, SimSiam):
            return Loss(*solve(terms, [("ssl", self.lambda_ss, self.ssl(*views))]))
        assert isinstance(self.ssl, SimCLR)
        term = self.ssl(*views, scale)
        return Loss(*solve([*terms, type(term)(term.name, term.levels, self.lambda_ss)]))

    def video_loss(
        self,
        videos: Rows,
        titles: Rows,
        ids: Tensor,
        scale: Tensor,
        found: Retrieved | None = None,
        views: Rows | None = None,
    ) -> Loss:
        """Contrast whole videos with titles, and with the silent videos that were retrieved for them.

        Args:
            videos: means over frames of the whole videos.
            titles: texts, row for row.
            ids: int64 `[B]`, `losses.text_ids` of all titles.
            scale: inverse temperature, a 0-d tensor.
            found: what the titles retrieved; None or nothing turns these terms off.
            views: second views of the videos, or None.
        """
        videos, titles = videos.normalised(), titles.normalised()
        terms = [info_nce("video", videos, titles, scale, ids, self.contrast)]
        if found is not None:
            second = None if views is None else views.normalised()
            terms += retrieval_terms(titles, videos, second, found, scale, ids, self.contrast, self.retrieval)
        return Loss(*solve(terms))

    @torch.no_grad()
    def clamp_scale_(self, log_scale: Tensor) -> None:
        """After a step, keep a learned logarithm of the inverse temperature in [0, log max_scale]."""
        if log_scale.requires_grad:
            log_scale.clamp_(0.0, math.log(self.max_scale))


def _heads(config: PretrainConfig, has_frames: bool) -> nn.Module | None:
    kind = config.ssl
    if kind == "auto":
        kind = "simsiam" if has_frames else "none"
    if kind == "none" or config.lambda_ss == 0:
        return None
    if not has_frames:
        raise UsageError(
            f"ssl = {kind!r} needs views of frames, got a cache of features, of which there are none",
            remedy="set ssl=auto or none, or build the cache with --stream frames",
        )
    if kind == "simclr":
        return SimCLR(config.dim, config.ssl_hidden, config.ssl_dim)
    return SimSiam(config.dim, config.ssl_hidden, config.ssl_dim, config.ssl_bottleneck)
