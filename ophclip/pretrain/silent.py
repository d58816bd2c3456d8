# SPDX-License-Identifier: Apache-2.0
"""The silent bank in training: encoded again when it is due, each rank a part of it, and searched."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ophclip.pretrain.batches import BatchReader
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.data import TrainingData
from ophclip.pretrain.embedding import Embedder
from ophclip.pretrain.retrieval_terms import Live, Retrieved
from ophclip.pretrain.sampler import step_rng
from ophclip.pretrain.schedule import retrieval_schedule
from ophclip.pretrain.state import TrainState
from ophclip.pretrain.world import World
from ophclip.retrieval import Duplicates, source_of
from ophclip.retrieval.bank import NEVER

ENCODED_AT_ONCE = 32  # silent videos, of which all frames go through the visual tower
MEANS_AT_ONCE = 1024  # where their features are pooled already


class SilentMemory:
    """Keeps the bank of a run up to date and finds what a batch of titles retrieves; alike on every rank."""

    def __init__(
        self,
        config: PretrainConfig,
        data: TrainingData,
        state: TrainState,
        reader: BatchReader,
        embedder: Embedder,
        world: World,
        steps_an_epoch: float,
    ) -> None:
        self._config, self._state, self._world = config, state, world
        self._reader, self._embedder = reader, embedder
        self._narrated = data.narrated
        self._numbers = np.arange(len(data.narrated), len(data.video_ids))
        self._text_ids = reader.title_ids[len(data.narrated) :]
        sources = [source_of(video.path) for video in data.silent] if config.exclude_same_source else None
        uploaded = [video.title for video in data.silent]
        self._duplicates = Duplicates(sources, uploaded, config.exclude_titles)
        self._at_once = ENCODED_AT_ONCE if data.has_frames else MEANS_AT_ONCE
        self._schedule = retrieval_schedule(config, steps_an_epoch)

    @property
    def first_step(self) -> int:
        """The first step that retrieves."""
        return self._schedule.first_step

    def retrieve(self, titles: Tensor, items: NDArray[np.int64], step: int) -> Retrieved | None:
        """Return what the titles `[B, D]` of narrated videos `items` `[B]` retrieve; None while it is off.

        All of the batch, on every rank. The bank is refreshed before, if that is due.
        """
        bank, config = self._state.bank, self._config
        if not config.num_retrieved or not len(bank) or step < self.first_step:
            return None
        never = bank.max_age(step) > step
        if never or bank.max_age(step) >= self._schedule.refresh_steps:
            self.refresh(step)
        videos = [self._narrated[item] for item in items.tolist()]
        same = self._duplicates.of([source_of(v.path) for v in videos], [v.title for v in videos])
        _, slots = bank.retrieve(
            titles.detach(), config.num_retrieved, exclude=same, min_similarity=config.min_similarity
        )
        live = self._encode(slots, step, len(items))
        return Retrieved(slots, bank.keys, bank.values, self._text_ids, same, live)

    def _encode(self, slots: Tensor, step: int, place: int) -> Live | None:
        """Encode some of what was retrieved with a graph, each rank a part, and keep it in the bank."""
        distinct = torch.unique(slots[slots >= 0]).cpu().numpy()
        count = min(self._config.encode_retrieved, len(distinct))
        if not count:
            return None
        # At random: the most similar ones are mostly of what narration shows often anyway.
        drawn = step_rng(self._config.seed, "silent", step).choice(distinct, count, replace=False)
        chosen = np.sort(drawn)
        share = self._world.share(len(chosen))
        own = self._numbers[chosen[share]]
        rows, texts = self._reader.videos(own), self._reader.titles(own)
        pairs = torch.cat(self._embedder.videos(rows, texts, step, place + share.start), dim=1)
        videos, titles = self._world.gather(pairs, len(chosen)).chunk(2, dim=1)
        bank = self._state.bank
        bank.update([bank.ids[slot] for slot in chosen.tolist()], titles, videos, step)
        return Live(torch.from_numpy(chosen), titles, videos)

    def complete(self, step: int) -> None:
        """Encode every silent video as if for the first time: a finished bank is of the final weights."""
        self._state.bank.steps.fill_(NEVER)
        self.refresh(step)

    @torch.no_grad()
    def refresh(self, step: int) -> None:
        """Encode every silent video with the weights as they are."""
        bank, model = self._state.bank, self._state.model
        if not len(bank):
            return
        was_training = model.training
        model.eval()
        own = self._numbers[self._world.share(len(bank))]
        parts = [own[start : start + self._at_once] for start in range(0, len(own), self._at_once)]
        pairs = [torch.cat([self._keys(part), self._values(part)], dim=1) for part in parts]
        none = torch.empty(0, 2 * self._config.dim, device=self._world.device)
        every = self._world.gather(torch.cat([none, *pairs]), len(bank))
        keys, values = every.chunk(2, dim=1)
        bank.update(bank.ids, keys, values, step)
        model.train(was_training)

    def _keys(self, videos: NDArray[np.int64]) -> Tensor:
        return self._embedder.texts(self._reader.titles(videos), self._config.video_tokens)

    def _values(self, videos: NDArray[np.int64]) -> Tensor:
        return self._embedder.rows(self._reader.videos(videos))
