# SPDX-License-Identifier: Apache-2.0
"""Splits and draws of training videos: whole, disjoint, seeded, nested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ophclip.errors import UsageError
from ophclip.evaluate.datasets import Dataset, Item
from ophclip.evaluate.splits import classes_shown, few_shots, some_percent, split_of

shown = st.dictionaries(
    st.integers(0, 40).map("v{}".format), st.frozensets(st.integers(0, 5)), min_size=1, max_size=20
)


def dataset(*splits: str) -> Dataset:
    items = [
        Item(f"v{n}", Path("v"), phases=np.zeros(3, np.int64), split=name) for n, name in enumerate(splits)
    ]
    return Dataset("made", items)


def part(data: Dataset, name: str) -> Dataset:
    return Dataset("made", [item for item in data.items if item.split == name])


def test_an_official_split_is_kept() -> None:
    data = dataset("train", "train", "val", "test")
    split = split_of(data, part(data, "test"), seed=0)
    assert (split.train, split.val, split.test) == (["v0", "v1"], ["v2"], ["v3"])
    assert split.source == "official"


def test_without_videos_to_choose_on_some_are_taken_from_training() -> None:
    data = dataset(*["train"] * 10, "test", "test")
    split = split_of(data, part(data, "test"), seed=3)
    assert len(split.val) == 2
    assert sorted([*split.train, *split.val]) == sorted(f"v{n}" for n in range(10))
    assert split.test == ["v10", "v11"]
    assert split == split_of(data, part(data, "test"), seed=3)
    assert split.source == "official, val drawn from train"


@given(st.integers(3, 60), st.integers(0, 5))
def test_a_drawn_split_is_of_whole_videos_and_leaves_none_out(count: int, seed: int) -> None:
    data = dataset(*[""] * count)
    split = split_of(data, data, seed=seed)
    assert sorted([*split.train, *split.val, *split.test]) == sorted(item.video_id for item in data.items)
    assert split.train
    assert split.val
    assert split.test
    assert split == split_of(Dataset("made", data.items[::-1]), data, seed=seed)


def test_a_drawn_split_depends_on_its_seed() -> None:
    data = dataset(*[""] * 30)
    assert split_of(data, data, seed=0).test != split_of(data, data, seed=1).test


def test_two_videos_cannot_be_split() -> None:
    with pytest.raises(UsageError, match="must have 3 videos to be split, got 2"):
        split_of(dataset("", ""), dataset("", ""), seed=0)


@given(shown, st.integers(1, 4), st.integers(0, 3))
def test_each_class_has_its_shots_or_all_there_are(
    classes: dict[str, frozenset[int]], shots: int, seed: int
) -> None:
    taken = few_shots(classes, shots, seed=seed)
    for label in frozenset().union(*classes.values()):
        there = sum(label in classes[name] for name in classes)
        assert sum(label in classes[name] for name in taken) >= min(shots, there)
    assert set(taken) <= set(few_shots(classes, shots + 1, seed=seed))
    assert taken == few_shots(dict(sorted(classes.items(), reverse=True)), shots, seed=seed)


def test_one_shot_of_clips_is_one_clip_a_class() -> None:
    classes = {f"c{n}": frozenset({n % 4}) for n in range(40)}
    assert len(few_shots(classes, 1, seed=0)) == 4
    assert len(few_shots(classes, 3, seed=0)) == 12


@given(st.integers(1, 50), st.floats(0.1, 99), st.integers(0, 3))
def test_a_share_is_rounded_up_and_nested(count: int, percent: float, seed: int) -> None:
    names = [f"v{n}" for n in range(count)]
    some = some_percent(names, percent, seed=seed)
    assert len(some) == max(1, int(np.ceil(percent / 100 * count)))
    assert set(some) <= set(some_percent(names, 100, seed=seed)) == set(names)


def test_the_classes_of_both_tasks_are_told_apart() -> None:
    item = Item("a", Path("a"), phases=np.array([-1, 2]), instruments=np.array([[0, 1], [0, 0]]))
    assert classes_shown(item) == {2, -3}
