# SPDX-License-Identifier: Apache-2.0
"""Which samples a step trains on: a pure function of the seed and the step, so resuming needs no state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LevelName = Literal["clip", "video"]

_STREAMS = {"clip": 1, "video": 2, "window": 3, "augment": 4, "torch": 5, "views": 6}


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


def batch_indices(seed: int, level: LevelName, turn: int, batch: int, num_items: int) -> NDArray[np.int64]:
    """Return the items `[min(batch, num_items)]` of a level's batch number `turn`.

    Every item comes once before any comes again; each pass has an order of its own. A batch never holds
    an item twice, so a pass ends with what does not fill a batch left out.
    """
    batch = min(batch, num_items)
    batches_a_pass = num_items // batch
    number, place = divmod(turn, batches_a_pass)
    order = np.random.default_rng((seed, _STREAMS[level], number)).permutation(num_items)
    return order[place * batch : (place + 1) * batch]


def step_rng(
    seed: int, stream: Literal["window", "augment", "torch", "views"], step: int
) -> np.random.Generator:
    """Return the generator of a step's random windows, its augmentation, or the seed of its dropout."""
    return np.random.default_rng((seed, _STREAMS[stream], step))
