# SPDX-License-Identifier: Apache-2.0
"""The embeddings of a batch, and their gradients back into the towers.

A batch that does not fit goes through the towers in micro-batches. A contrastive loss needs all embeddings at
once, so they are made without a graph first; once the loss has said what their gradients are, each
micro-batch is embedded again, with the same dropout and the same views, and takes its gradients back
(gradient caching, arXiv 2101.06983). The gradients are those of the whole batch at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ophclip.models import DualEncoder
from ophclip.models.recompute import unchanged_statistics
from ophclip.models.tokens import Tokens
from ophclip.pretrain.augment import augment_clips
from ophclip.pretrain.batches import Batch
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.sampler import Stream, step_rng
from ophclip.pretrain.views import draw_view


@dataclass
class Embedded:
    """What a rank embedded of a batch: sides `[b, D]`, float32 and not normalised.

    The first is of clips or videos, the second of their texts; two views of clips may follow, or a second
    view of videos.
    """

    sides: list[Tensor]
    _again: list[tuple[slice, Batch]] = field(default_factory=list)


class Embedder:
    """Embeds batches; what is random depends on the seed, the step and the place in the batch."""

    def __init__(self, model: DualEncoder, config: PretrainConfig, *, bf16: bool, has_views: bool) -> None:
        self._model, self._config, self._bf16, self._has_views = model, config, bf16, has_views
        self._device = next(model.parameters()).device

    def embed(self, batch: Batch) -> Embedded:
        """Embed a batch with its graph, or without it where it takes several micro-batches."""
        parts = self._parts(len(batch))
        if len(parts) == 1:
            return Embedded(self._sides(batch, parts[0]))
        with torch.no_grad(), unchanged_statistics(self._model):
            made = [self._sides(batch, part) for part in parts]
        sides = [torch.cat(side).requires_grad_() for side in zip(*made, strict=True)]
        return Embedded(sides, [(part, batch) for part in parts])

    def backward(self, embedded: Embedded) -> None:
        """Take the gradients of the sides back into the towers; after the loss's own backward pass."""
        for part, batch in embedded._again:
            sides = self._sides(batch, part)
            given = [
                (again, made.grad[part])
                for again, made in zip(sides, embedded.sides, strict=True)
                if made.grad is not None and again.requires_grad
            ]
            torch.autograd.backward([side for side, _ in given], [grad for _, grad in given])

    def rows(self, rows: Tensor) -> Tensor:
        """Embed frames `[b, T, H, W, 3]` or mean features `[b, F]` as the mean over frames, `[b, D]`."""
        rows = rows.to(self._device, non_blocking=True)
        with self._autocast():
            if rows.ndim == 2:
                return self._model.embed_features(rows.float()).float()
            return self._model.embed_frames(rows).float().mean(dim=1)

    def texts(self, texts: Tokens | Sequence[str], max_tokens: int) -> Tensor:
        """Embed texts as `[b, D]`."""
        if isinstance(texts, Tokens):
            texts = texts.to(self._device)
        with self._autocast():
            return self._model.embed_text(texts, max_tokens).float()

    def videos(
        self, rows: Tensor, titles: Tokens | Sequence[str], step: int, place: int
    ) -> tuple[Tensor, Tensor]:
        """Embed further whole videos and titles of a step as its batch was, with their graph, `[b, D]` each.

        `place` is where they would stand in the batch. What is random depends on it, and on the size of
        micro-batches, which save no memory here.
        """
        if not len(rows):
            # With a gradient nevertheless: all ranks must take part when gradients come back.
            none = torch.empty(0, self._config.dim, device=self._device, requires_grad=True)
            return none, none
        made = [self._video_part(rows, titles, step, place, part) for part in self._parts(len(rows))]
        videos, texts = zip(*made, strict=True)
        return torch.cat(videos), torch.cat(texts)

    def _video_part(
        self, rows: Tensor, titles: Tokens | Sequence[str], step: int, place: int, part: slice
    ) -> tuple[Tensor, Tensor]:
        some = titles.part(part.start, part.stop) if isinstance(titles, Tokens) else titles[part]
        with _torch_seeded(self._config.seed, step, place + part.start, self._device):
            videos = self.rows(self._augmented(rows[part], "augment", step, place + part.start))
            return videos, self.texts(some, self._config.video_tokens)

    def _sides(self, batch: Batch, part: slice) -> list[Tensor]:
        config, is_clip = self._config, batch.level == "clip"
        rows, place = batch.rows[part], batch.first + part.start
        texts = batch.texts
        texts = texts.part(part.start, part.stop) if isinstance(texts, Tokens) else texts[part]
        with _torch_seeded(config.seed, batch.step, place, self._device):
            made = [
                self.rows(self._augmented(rows, "augment", batch.step, place)),
                self.texts(texts, config.clip_tokens if is_clip else config.video_tokens),
            ]
            if is_clip and self._has_views:
                rng = step_rng(config.seed, "views", batch.step, place)
                frames, alike = rows.to(self._device, non_blocking=True), config.temporally_consistent
                made += [self.rows(draw_view(frames, rng, temporally_consistent=alike)) for _ in range(2)]
            if batch.second is not None:
                second = self._augmented(batch.second[part], "augment second", batch.step, place)
                made.append(self.rows(second))
        return made

    def _augmented(self, rows: Tensor, stream: Stream, step: int, place: int) -> Tensor:
        if rows.ndim == 2 or not self._config.augment:
            return rows
        frames = rows.to(self._device, non_blocking=True)
        return augment_clips(frames, step_rng(self._config.seed, stream, step, place))

    def _parts(self, count: int) -> list[slice]:
        size = self._config.micro_batch or max(1, count)
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)


@contextmanager
def _torch_seeded(seed: int, step: int, place: int, device: torch.device) -> Iterator[None]:
    # Dropout draws from torch's own generators: seeded so, it is the same when a run is resumed, when a
    # micro-batch is embedded again, and on whichever rank that is.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(step_rng(seed, "torch", step, place).integers(2**63)))
        yield
