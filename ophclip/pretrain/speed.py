# SPDX-License-Identifier: Apache-2.0
"""How fast a configuration trains on this machine, and where the time of its steps goes."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

import torch

from ophclip import console
from ophclip.pretrain.assembly import Parts, assemble
from ophclip.pretrain.batches import Batch
from ophclip.pretrain.clock import PhaseClock
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.data import load_data
from ophclip.pretrain.distributed import join_world
from ophclip.pretrain.prefetch import prefetched
from ophclip.pretrain.sampler import LevelName
from ophclip.pretrain.world import World

LEAST_S = 10.0  # of measured steps
MIB = 1 << 20


@dataclass(frozen=True)
class LevelSpeed:
    """The measured steps of a level; pairs are of the whole batch, shares are of the time and add up to 1.

    The loss includes its gradient, which one native call gives at once. `data` is the time that a step waits
    for its batch.
    """

    steps: int
    pairs_a_step: int
    pairs_per_s: float
    ms_a_step: float
    shares: dict[str, float]


@dataclass(frozen=True)
class Speed:
    """What was measured of a configuration; `peak_mib` is of one process, on its GPU or else in memory."""

    num_processes: int
    device: str
    peak_mib: float
    clip: LevelSpeed | None
    video: LevelSpeed | None


def measure_speed(config: PretrainConfig) -> Speed:
    """Time whole turns of both levels with everything in them, retrieval included; nothing is written.

    Two turns warm up. Then turns are measured until `LEAST_S` seconds have passed.

    Raises:
        UsageError: corpus, cache and configuration do not fit together.
    """
    config = config.resolved()
    with join_world(config.device) as world:
        clock = PhaseClock(world.device, exact=True)
        parts = assemble(config, load_data(config), world, clock)
        return _measure(parts, world, clock)


def _measure(parts: Parts, world: World, clock: PhaseClock) -> Speed:
    turns = parts.sampler.alternation
    round_steps = turns.clip_steps + turns.video_steps
    first = -(-parts.memory.first_step // round_steps) * round_steps  # a turn in which retrieval is on
    steps = iter(range(first, sys.maxsize))
    taken: dict[LevelName, list[dict[str, float]]] = {"clip": [], "video": []}
    began = 0.0
    with (
        closing(prefetched(parts.reader.read, steps)) as batches,
        console.progress("measure", None, "steps") as shown,
    ):
        clock.start()
        for number, batch in enumerate(batches):
            if number == 2 * round_steps:
                began = time.perf_counter()
            seconds = _one(parts, batch, clock)
            shown.advance()
            if number >= 2 * round_steps:
                taken[batch.level].append(seconds)
            if _is_over(number + 1, round_steps, time.perf_counter() - began >= LEAST_S, world):
                break
    speeds = {level: _speed(seconds, parts, level) for level, seconds in taken.items()}
    return Speed(world.size, world.device, _peak_mib(world.device), speeds["clip"], speeds["video"])


def _one(parts: Parts, batch: Batch, clock: PhaseClock) -> dict[str, float]:
    before = dict(clock.seconds)
    clock.mark("data")
    parts.stepper.run(batch)
    return {phase: seconds - before[phase] for phase, seconds in clock.seconds.items()}


def _is_over(number: int, round_steps: int, has_measured: bool, world: World) -> bool:
    """Return whether this was the last step; all ranks agree, after whole turns."""
    if number < 3 * round_steps or number % round_steps:
        return False
    vote = torch.tensor([float(has_measured)], device=world.device)
    world.sum_([vote])
    return float(vote) > 0


def _speed(taken: list[dict[str, float]], parts: Parts, level: LevelName) -> LevelSpeed | None:
    if not taken:
        return None
    total = sum(sum(seconds.values()) for seconds in taken)
    pairs = min(parts.sampler.batch[level], parts.sampler.num_items[level])
    shares = {phase: sum(seconds[phase] for seconds in taken) / total for phase in taken[0]}
    return LevelSpeed(
        steps=len(taken),
        pairs_a_step=pairs,
        pairs_per_s=pairs * len(taken) / total,
        ms_a_step=1000 * total / len(taken),
        shares=shares,
    )


def _peak_mib(device: str) -> float:
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / MIB
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib / 1024 if sys.platform == "linux" else kib / MIB


def table_rows(speed: Speed) -> Iterable[list[str]]:
    """Yield what `ophclip pretrain --benchmark` prints, line by line: what, clip level, video level."""
    levels = (speed.clip, speed.video)
    yield ["pairs/s", *(f"{level.pairs_per_s:,.1f}" if level else "-" for level in levels)]
    yield ["pairs a step", *(str(level.pairs_a_step) if level else "-" for level in levels)]
    yield ["ms a step", *(f"{level.ms_a_step:,.1f}" if level else "-" for level in levels)]
    for phase in next(level.shares for level in levels if level):
        yield [f"{phase}, %", *(f"{100 * level.shares[phase]:.1f}" if level else "-" for level in levels)]
