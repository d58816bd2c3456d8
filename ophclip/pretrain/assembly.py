# SPDX-License-Identifier: Apache-2.0
"""Puts the parts of a run together, alike for training and for its benchmark."""

from __future__ import annotations

from dataclasses import dataclass

from ophclip.errors import UsageError
from ophclip.pretrain.batches import BatchReader
from ophclip.pretrain.clock import PhaseClock
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.data import TrainingData
from ophclip.pretrain.embedding import Embedder
from ophclip.pretrain.sampler import LevelName, Sampler
from ophclip.pretrain.silent import SilentMemory
from ophclip.pretrain.state import TrainState, build_state, uses_bf16
from ophclip.pretrain.step import Stepper
from ophclip.pretrain.world import World


@dataclass(frozen=True)
class Parts:
    """The parts of a run on one rank."""

    sampler: Sampler
    state: TrainState
    reader: BatchReader
    memory: SilentMemory
    stepper: Stepper


def assemble(config: PretrainConfig, data: TrainingData, world: World, clock: PhaseClock) -> Parts:
    """Build all parts of a run as they are before its first step.

    Raises:
        UsageError: the configuration does not fit the data or the number of ranks.
    """
    sampler = sampler_of(config, data)
    _check_shares(sampler, world)
    state = build_state(config, data, world.device)
    reader = BatchReader(config, data, sampler, state.model, world)
    has_views = state.objective.needs_views
    embedder = Embedder(
        state.model, config, bf16=uses_bf16(config.precision, world.device), has_views=has_views
    )
    memory = SilentMemory(config, data, state, reader, embedder, world, sampler.steps_an_epoch)
    stepper = Stepper(config, state, reader, embedder, memory, world, clock)
    return Parts(sampler, state, reader, memory, stepper)


def sampler_of(config: PretrainConfig, data: TrainingData) -> Sampler:
    """Return the order of a run over the clips and narrated videos of `data`."""
    batch: dict[LevelName, int] = {"clip": config.batch_clips, "video": config.batch_videos}
    num_items: dict[LevelName, int] = {"clip": len(data.clips), "video": len(data.narrated)}
    turns = (config.clip_steps, config.video_steps)
    return Sampler.of(config.seed, turns, config.alternation, batch, num_items)


def _check_shares(sampler: Sampler, world: World) -> None:
    turns = {"clip": sampler.alternation.clip_steps, "video": sampler.alternation.video_steps}
    for level, batch in sampler.batch.items():
        smallest = min(batch, sampler.num_items[level])
        if turns[level] and smallest < world.size:
            raise UsageError(
                f"a batch must give each of {world.size} processes a {level}, got {smallest}",
                remedy=f"set batch_{level}s to {world.size} or more, or start fewer processes",
            )
