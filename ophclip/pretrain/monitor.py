# SPDX-License-Identifier: Apache-2.0
"""How good a checkpoint is: by the contrastive loss on held-out videos, or by the training loss before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ophclip.pretrain.batches import BatchReader
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.data import TrainingData
from ophclip.pretrain.embedding import Embedder
from ophclip.pretrain.losses import Rows, info_nce, solve
from ophclip.pretrain.run_folder import read_metrics
from ophclip.pretrain.sampler import LevelName, Sampler
from ophclip.pretrain.state import TrainState
from ophclip.pretrain.world import World

LEVELS: tuple[LevelName, ...] = ("clip", "video")


def training_loss(out: Path, first: int, last: int) -> float | None:
    """Return the mean of both levels' mean losses over steps `first` to `last`, read from the metrics."""
    return mean_of_levels([record for record in read_metrics(out) if first <= record["step"] < last])


def mean_of_levels(records: Sequence[dict[str, Any]]) -> float | None:
    """Return the mean over the levels of their mean loss; None without records."""
    means = [mean for level in LEVELS if (mean := mean_loss(records, level)) is not None]
    return sum(means) / len(means) if means else None


def mean_loss(records: Sequence[dict[str, Any]], level: LevelName) -> float | None:
    """Return the mean loss of the steps of a level; None where there were none."""
    losses = [record["loss"] for record in records if record["level"] == level]
    return sum(losses) / len(losses) if losses else None


class HeldOut:
    """The contrastive loss on a split that is not trained on: nothing random, and no retrieval.

    The batches are those of training in their order of the corpus; each rank takes some of them.
    """

    def __init__(
        self, config: PretrainConfig, data: TrainingData, sampler: Sampler, state: TrainState, world: World
    ) -> None:
        self._config, self._state, self._world = config, state, world
        alone = World(device=world.device)
        self._reader = BatchReader(config, data, sampler, state.model, alone)
        self._embedder = Embedder(state.model, config, bf16=False, has_views=False)
        self._batches = [
            (level, np.arange(start, min(start + sampler.batch[level], count)))
            for level, count in sampler.num_items.items()
            for start in range(0, count, sampler.batch[level])
        ]

    @torch.no_grad()
    def loss(self) -> float:
        """Return the mean of both levels' losses, each a mean over its items; the same on every rank."""
        model = self._state.model.eval()
        sums = torch.zeros(len(LEVELS), 2, device=self._world.device)
        for level, items in self._batches[self._world.rank :: self._world.size]:
            value = self._loss_of(level, items)
            sums[LEVELS.index(level)] += torch.stack([len(items) * value, value.new_tensor(len(items))])
        self._world.sum_([sums])
        model.train()
        means = (sums[:, 0] / sums[:, 1])[sums[:, 1] > 0]
        return float(means.mean())

    def _loss_of(self, level: LevelName, items: NDArray[np.int64]) -> Tensor:
        rows, texts, ids = self._reader.held_out(level, items)
        scale, contrast = self._state.model.scale, self._state.objective.contrast
        words = self._config.clip_tokens if level == "clip" else self._config.video_tokens
        parts = torch.split(rows, self._config.micro_batch or len(rows))
        videos = Rows.whole(torch.cat([self._embedder.rows(part) for part in parts])).normalised()
        titles = Rows.whole(self._embedder.texts(texts, words)).normalised()
        return solve([info_nce(level, videos, titles, scale, ids.to(scale.device), contrast)])[0]
