# SPDX-License-Identifier: Apache-2.0
"""Which samples a step trains on: a pure function of the seed and the step.

So resuming needs no state, and the number of ranks changes nothing: a rank takes its part of each batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LevelName = Literal["clip", "video"]
Stream = Literal["window", "augment", "torch", "views", "silent", "second", "augment second"]

_STREAMS = {
    "clip": 1,
    "video": 2,
    "window": 3,
    "augment": 4,
    "torch": 5,
    "views": 6,
    "silent": 7,
    "second": 8,
    "augment second": 9,
}


@dataclass(frozen=True)
class Alternation:
    """The two levels take turns: `clip_steps` of one, `video_steps` of the other."""

    clip_steps: int
    video_steps: int

    def level(self, step: int) -> LevelName:
        """Return the level of a step."""
        return "clip" if step % (self.clip_steps + self.video_steps) < self.clip_steps else "video"

    def turn(self, step: int) -> int:
        """Return how many steps of the same level came before this one."""
        rounds, place = divmod(step, self.clip_steps + self.video_steps)
        if place < self.clip_steps:
            return rounds * self.clip_steps + place
        return rounds * self.video_steps + place - self.clip_steps


@dataclass(frozen=True)
class Sampler:
    """The order of a run: which level a step trains, and on which items."""

    seed: int
    alternation: Alternation
    batch: dict[LevelName, int]
    num_items: dict[LevelName, int]

    @classmethod
    def of(
        cls,
        seed: int,
        turns: tuple[int, int],
        unit: Literal["steps", "epoch"],
        batch: dict[LevelName, int],
        num_items: dict[LevelName, int],
    ) -> Sampler:
        """Make the order in which clips and videos take `turns`, of steps or of passes over their items."""
        clip, video = turns
        if unit == "epoch":
            clip *= batches_a_pass(batch["clip"], num_items["clip"])
            video *= batches_a_pass(batch["video"], num_items["video"])
        return cls(seed, Alternation(clip, video), batch, num_items)

    def level(self, step: int) -> LevelName:
        """Return the level of a step."""
        return self.alternation.level(step)

    def items(self, step: int) -> NDArray[np.int64]:
        """Return the items of a step's whole batch, clips or narrated videos by number."""
        level = self.level(step)
        turn = self.alternation.turn(step)
        return batch_indices(self.seed, level, turn, self.batch[level], self.num_items[level])

    @property
    def steps_an_epoch(self) -> float:
        """Steps of both levels in which the clips are passed over once."""
        turns = self.alternation
        share = turns.clip_steps / (turns.clip_steps + turns.video_steps)
        batches = batches_a_pass(self.batch["clip"], self.num_items["clip"])
        return batches / share if share else batches


def batch_indices(seed: int, level: LevelName, turn: int, batch: int, num_items: int) -> NDArray[np.int64]:
    """Return the items `[min(batch, num_items)]` of a level's batch number `turn`.

    Every item comes once before any comes again; each pass has an order of its own. A batch never holds
    an item twice, so a pass ends with what does not fill a batch left out.
    """
    batch = min(batch, num_items)
    number, place = divmod(turn, batches_a_pass(batch, num_items))
    return _order(seed, level, number, num_items)[place * batch : (place + 1) * batch]


def batches_a_pass(batch: int, num_items: int) -> int:
    """Return the full batches of a pass over the items; one where there are fewer items than that."""
    return max(1, num_items // batch)


def step_rng(seed: int, stream: Stream, step: int, place: int = 0) -> np.random.Generator:
    """Return the generator of a step's random windows, views or silent videos, or the seed of its dropout.

    `place` is that of the first item, in the whole batch, of those that are drawn for.
    """
    return np.random.default_rng((seed, _STREAMS[stream], step, place))


@lru_cache(maxsize=4)
def _order(seed: int, level: LevelName, number: int, num_items: int) -> NDArray[np.int64]:
    order = np.random.default_rng((seed, _STREAMS[level], number)).permutation(num_items)
    order.flags.writeable = False
    return order
