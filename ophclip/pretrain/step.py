# SPDX-License-Identifier: Apache-2.0
"""One step: embed a rank's part of the batch, contrast it with all of the batch, and change the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ophclip.errors import OphclipError
from ophclip.pretrain.batches import Batch, BatchReader
from ophclip.pretrain.clock import PhaseClock
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.embedding import Embedded, Embedder
from ophclip.pretrain.losses import Rows
from ophclip.pretrain.objective import Loss
from ophclip.pretrain.silent import SilentMemory
from ophclip.pretrain.state import TrainState, learning_rate
from ophclip.pretrain.world import World

NAMED_AT_MOST = 8


@dataclass(frozen=True)
class StepResult:
    """The numbers of a step, of the whole batch; `stops` if any rank was asked to stop."""

    loss: float
    terms: dict[str, float]
    grad_norm: float
    lr: float
    scale: float
    stops: bool


class Stepper:
    """Carries out steps; every rank calls `run` for the same steps."""

    def __init__(
        self,
        config: PretrainConfig,
        state: TrainState,
        reader: BatchReader,
        embedder: Embedder,
        memory: SilentMemory,
        world: World,
        clock: PhaseClock,
    ) -> None:
        self._config, self._state, self._world, self._clock = config, state, world, clock
        self._reader, self.embedder, self._memory = reader, embedder, memory
        self._averaged = [
            buffer
            for module in state.model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            for buffer in (module.running_mean, module.running_var)
            if buffer is not None
        ]

    def run(self, batch: Batch, *, stop: bool = False) -> StepResult:
        """Train on one batch; `stop` asks all ranks to end after this step.

        Raises:
            OphclipError: the loss or its gradient is not finite; step and items are named.
        """
        state, clock = self._state, self._clock
        state.model.train()
        rate = learning_rate(self._config, batch.step)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.zero_grad(set_to_none=True)
        embedded = self.embedder.embed(batch)
        clock.mark("forward")
        loss = self.loss(batch, embedded)
        clock.mark("loss")
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.embedder.backward(embedded)
        clock.mark("backward")
        facts = torch.stack([loss.total.detach(), loss.total.new_tensor(float(stop)), *loss.parts.values()])
        self._exchange(facts)
        clock.mark("exchange")
        # Before the weights change, so that a checkpoint after this step is never of what is not finite.
        norm = torch.nn.utils.clip_grad_norm_(state.trained, self._config.grad_clip)
        total, stops, *parts, norm_value = torch.cat([facts, norm.reshape(1).to(facts)]).tolist()
        if not math.isfinite(total) or not math.isfinite(norm_value):
            raise self._not_finite(batch, embedded, total, norm_value)
        state.optimizer.step()
        state.objective.clamp_scale_(state.model.log_scale)
        clock.mark("optimiser")
        terms = dict(zip(loss.parts, parts, strict=True))
        return StepResult(total, terms, norm_value, rate, float(state.model.scale.detach()), stops > 0)

    def loss(self, batch: Batch, embedded: Embedded) -> Loss:
        """Return this rank's share of the loss of a batch; the bank is refreshed where that is due."""
        objective, scale = self._state.objective, self._state.model.scale
        rows, texts, *views = self._rows(batch, embedded.sides)
        ids = batch.text_ids.to(rows.all.device)
        if batch.level == "clip":
            return objective.clip_loss(rows, texts, ids, scale, (views[0], views[1]) if views else None)
        self._clock.mark("loss")
        found = self._memory.retrieve(texts.all, batch.items, batch.step)
        self._clock.mark("retrieval")
        return objective.video_loss(rows, texts, ids, scale, found, views[0] if views else None)

    def _rows(self, batch: Batch, sides: Sequence[Tensor]) -> list[Rows]:
        if self._world.size == 1:
            return [Rows.whole(side) for side in sides]
        every = self._world.gather(torch.cat(list(sides), dim=1), len(batch.items))  # all sides at once
        parts = torch.split(every, [side.shape[1] for side in sides], dim=1)
        return [Rows(own, whole, batch.first) for own, whole in zip(sides, parts, strict=True)]

    def _exchange(self, facts: Tensor) -> None:
        """Sum over ranks the gradients of all weights, the running statistics of batch norm, and `facts`.

        The gradient of a rank is that of its share of the loss: their sum is that of the whole batch.
        """
        if self._world.size == 1:
            return
        gradients = [weight.grad for weight in self._state.trained if weight.grad is not None]
        self._world.sum_([*gradients, *self._averaged, facts])
        for statistic in self._averaged:
            statistic.div_(self._world.size)

    def _not_finite(self, batch: Batch, embedded: Embedded, loss: float, norm: float) -> OphclipError:
        is_finite = torch.cat(embedded.sides, dim=1).detach().isfinite().all(dim=1)
        bad = batch.items[batch.first : batch.first + len(batch)][~is_finite.cpu().numpy()]
        names = self._reader.names(batch.level, bad if len(bad) else batch.items)
        shown = ", ".join(names[:NAMED_AT_MOST]) + (", ..." if len(names) > NAMED_AT_MOST else "")
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        where = "not finite are the embeddings of" if len(bad) else f"{batch.level} batch"
        return OphclipError(
            f"{what} at step {batch.step}, {where} {shown}",
            remedy="look at these items, lower lr, or resume with another seed",
        )
