# SPDX-License-Identifier: Apache-2.0
"""Rows in any order: what indexing each video gives, from a plain and a packed cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_corpus import random_rows, write_cache
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ophclip.cache import FeatureCache, open_cache, pack_cache, sharded
from ophclip.cache.clips import runs
from ophclip.errors import DamageError, UsageError

LENGTHS = {f"v{number}": 3 + 4 * number for number in range(5)}


@pytest.fixture(scope="module")
def rows() -> dict[str, NDArray[Any]]:
    return {name: random_rows(length, length) for name, length in LENGTHS.items()}


@pytest.fixture(scope="module")
def caches(rows: dict[str, NDArray[Any]], tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    folder = tmp_path_factory.mktemp("take")
    plain = write_cache(folder / "c.zarr", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded, "SHARD_ROWS", 16)  # so that videos lie in two shards
        patch.setattr(sharded, "CHUNK_ROWS", 4)
        pack_cache(open_cache(plain), folder / "p.zarr")
    return [open_cache(plain), open_cache(folder / "p.zarr")]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_rows_in_any_order_are_those_of_each_video(
    data: st.DataObject, caches: list[FeatureCache], rows: dict[str, NDArray[Any]]
) -> None:
    width = data.draw(st.integers(0, 6))
    ids = data.draw(st.lists(st.sampled_from(sorted(LENGTHS)), max_size=5))
    wanted = np.array(
        [
            data.draw(st.lists(st.integers(0, LENGTHS[name] - 1), min_size=width, max_size=width))
            for name in ids
        ],
        dtype=np.int64,
    ).reshape(len(ids), width)
    expected = [rows[name][line] for name, line in zip(ids, wanted, strict=True)]
    for cache in caches:
        found = cache.take(ids, wanted)
        assert found.shape == (len(ids), width, *cache.row_shape)
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_neighbours_are_one_run_within_a_line_and_never_across_lines() -> None:
    lines, first, lengths = runs(np.array([[4, 5, 6], [7, 8, 2], [3, 3, 4]]))
    assert list(zip(lines, first, lengths, strict=True)) == [
        (0, 4, 3), (1, 7, 2), (1, 2, 1), (2, 3, 1), (2, 3, 2)
    ]  # fmt: skip


def test_memory_that_is_given_is_filled(caches: list[FeatureCache], rows: dict[str, NDArray[Any]]) -> None:
    for cache in caches:
        out = torch.zeros(2, 2, *cache.row_shape, dtype=torch.float16)
        assert cache.take(["v1", "v0"], [[6, 0], [2, 1]], out=out) is out
        assert np.array_equal(out[0].numpy(), rows["v1"][[6, 0]])
        strided = np.zeros((2, 4, *cache.row_shape), np.float16)[:, ::2]
        cache.take(["v1", "v0"], [[6, 0], [2, 1]], out=strided)
        assert np.array_equal(strided[1], rows["v0"][[2, 1]])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([[0, 3]], r"row must lie in \[0, 3\) of video 'v0', got 3"),
        ([[1, 2, 3]], r"row must lie in \[0, 3\) of video 'v0', got 3"),
        ([[-1]], r"row must lie in \[0, 3\) of video 'v0', got -1"),
        ([0, 1], r"rows must be whole numbers \[1, T\], got int64 \[2\]"),
        ([[0.5]], "rows must be whole numbers"),
        ([[0], [1]], r"rows must be whole numbers \[1, T\], got int64 \[2, 1\]"),
    ],
)
def test_rows_that_are_not_there_are_named(
    wanted: list[Any], message: str, caches: list[FeatureCache]
) -> None:
    for cache in caches:
        with pytest.raises(UsageError, match=message):
            cache.take(["v0"], wanted)


def test_a_file_that_was_cut_is_damage(rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", rows)
    cache = open_cache(path)
    cache.take(["v4"], [[0]])
    chunk = next(path.glob("videos/v4/c/0/0"))
    with chunk.open("r+b") as file:
        file.truncate(10)
    with pytest.raises(DamageError, match="v4"):
        cache.take(["v4"], [[12]])
