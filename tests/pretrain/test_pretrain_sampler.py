# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ophclip.pretrain.sampler import Alternation, batch_indices

few = st.integers(1, 6)


@given(clip_steps=few, video_steps=st.integers(0, 4), steps=st.integers(1, 60))
def test_turns_count_the_steps_of_their_level(clip_steps: int, video_steps: int, steps: int) -> None:
    alternation = Alternation(clip_steps, video_steps)
    seen = {"clip": 0, "video": 0}
    for step in range(steps):
        level = alternation.level(step)
        assert alternation.turn(step) == seen[level]
        seen[level] += 1
    rounds = steps // (clip_steps + video_steps)
    assert seen["video"] >= rounds * video_steps
    assert seen["clip"] >= rounds * clip_steps


@given(seed=st.integers(0, 9), batch=st.integers(1, 9), num_items=st.integers(1, 20))
def test_a_pass_holds_no_item_twice(seed: int, batch: int, num_items: int) -> None:
    a_pass = num_items // min(batch, num_items)
    for first in (0, a_pass):
        batches = [batch_indices(seed, "clip", first + i, batch, num_items) for i in range(a_pass)]
        drawn = np.concatenate(batches)
        assert len(set(drawn.tolist())) == len(drawn)
        assert set(drawn.tolist()) <= set(range(num_items))


def test_passes_and_seeds_and_levels_differ() -> None:
    draws = [
        batch_indices(seed, level, turn, 50, 50).tolist()
        for seed, level, turn in [(0, "clip", 0), (0, "clip", 1), (1, "clip", 0), (0, "video", 0)]
    ]
    assert len({tuple(draw) for draw in draws}) == 4
