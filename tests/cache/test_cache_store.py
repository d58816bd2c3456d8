# SPDX-License-Identifier: Apache-2.0
"""Reading: mapped rows, times, clips, refresh, and sharing between processes."""

from __future__ import annotations

import mmap
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import pytest
import torch
from cache_corpus import DIM, provenance, random_rows, store, write_cache
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

import ophclip
from ophclip.cache import FeatureCache, open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.store import MAX_OPEN
from ophclip.errors import DamageError, UsageError

LENGTHS = {"one": 1, "two": 2, "ten": 10}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    path = tmp_path_factory.mktemp("store") / "c.zarr"
    return open_cache(write_cache(path, {name: random_rows(n, n) for name, n in LENGTHS.items()}))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of more videos than are kept mapped."""
    path = tmp_path_factory.mktemp("many") / "c.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)  # no power cut is meant here, and it takes 10 s
        videos = {f"v{number:03d}": random_rows(number, 2) for number in range(MAX_OPEN + 44)}
        return write_cache(path, videos)


def test_the_package_opens_a_cache_by_path_or_text(cache: FeatureCache) -> None:
    for path in (cache.path, str(cache.path)):
        assert ophclip.open_cache(path).ids == sorted(LENGTHS)


def test_a_cache_is_a_collection_of_ids(cache: FeatureCache) -> None:
    assert len(cache) == 3
    assert list(cache) == cache.ids == ["one", "ten", "two"]
    assert "one" in cache
    assert "four" not in cache
    assert cache.provenance == provenance()
    assert {name: cache.num_frames(name) for name in cache} == LENGTHS


def base_of(rows: NDArray[Any]) -> object:
    base: Any = rows
    while getattr(base, "base", None) is not None:
        base = base.base
    return base


def test_rows_are_mapped_and_cannot_be_written(cache: FeatureCache) -> None:
    rows = cache["ten"]
    np.testing.assert_array_equal(rows, random_rows(10, 10))
    assert (rows.dtype, rows.shape) == (np.float16, (10, DIM))
    assert isinstance(base_of(rows), mmap.mmap)
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        rows.flags.writeable = True


def test_times_are_float64_and_cannot_be_written(cache: FeatureCache) -> None:
    times = cache.times("ten")
    assert times.dtype == np.float64
    assert times.tolist() == list(range(10))
    with pytest.raises(ValueError, match="read-only"):
        times[0] = 1


@given(
    clips=st.lists(
        st.sampled_from(sorted(LENGTHS)).flatmap(
            lambda name: st.tuples(st.just(name), st.integers(0, LENGTHS[name] - 1))
        ),
        max_size=6,
    ),
    length=st.integers(0, 14),
    into=st.booleans(),
)
def test_gather_equals_indexing_with_the_last_row_repeated(
    cache: FeatureCache, clips: list[tuple[str, int]], length: int, into: bool
) -> None:
    ids, starts = [name for name, _ in clips], [start for _, start in clips]
    out = np.full((len(clips), length, DIM), 9, dtype=np.float16) if into else None
    got = cache.gather(ids, starts, length, out=out)
    assert got.shape == (len(clips), length, DIM)
    assert got.flags.c_contiguous
    assert out is None or got is out
    for clip, name, start in zip(got, ids, starts, strict=True):
        wanted = np.minimum(np.arange(start, start + length), LENGTHS[name] - 1)
        np.testing.assert_array_equal(clip, random_rows(LENGTHS[name], LENGTHS[name])[wanted])


def test_gather_fills_a_torch_tensor(cache: FeatureCache) -> None:
    tensor = torch.zeros(2, 3, DIM, dtype=torch.float16)
    cache.gather(["ten", "two"], [4, 1], 3, out=tensor.numpy())
    assert torch.equal(tensor[0], torch.from_numpy(random_rows(10, 10)[4:7]))
    assert torch.equal(tensor[1], torch.from_numpy(random_rows(2, 2)[[1, 1, 1]]))


@pytest.mark.parametrize(
    ("ids", "starts", "length", "says"),
    [
        (["ten"], [10], 2, r"start must lie in \[0, 10\) of video 'ten', got 10"),
        (["ten"], [-1], 2, r"start must lie in \[0, 10\) of video 'ten', got -1"),
        (["ten", "two"], [0], 2, "starts must be one an id: 2, got 1"),
        (["tem"], [0], 2, "holds no video 'tem'; did you mean 'ten'"),
        (["ten"], [0], -1, "length must not be negative, got -1"),
    ],
)
def test_gather_refuses_what_is_not_there(
    cache: FeatureCache, ids: list[str], starts: list[int], length: int, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        cache.gather(ids, starts, length)


@pytest.mark.parametrize(
    "out",
    [np.empty((1, 2, DIM), np.float32), np.empty((2, 2, DIM), np.float16), np.empty((1, 2), np.float16)],
)
def test_gather_refuses_an_out_that_does_not_fit(cache: FeatureCache, out: NDArray[Any]) -> None:
    with pytest.raises(UsageError, match=r"out must be float16 \[1, 2, 6\], got"):
        cache.gather(["ten"], [0], 2, out=out)


@pytest.mark.parametrize("read", [FeatureCache.__getitem__, FeatureCache.times, FeatureCache.num_frames])
def test_a_video_that_is_not_there_is_a_usage_error(cache: FeatureCache, read: Any) -> None:
    with pytest.raises(UsageError, match="holds no video 'twu'; did you mean 'two'"):
        read(cache, "twu")


def test_a_folder_that_holds_no_cache_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no cache at .*; build one: ophclip cache build"):
        open_cache(tmp_path)


def num_maps(path: Path) -> int:
    return sum(entry.path.startswith(str(path)) for entry in psutil.Process().memory_maps(grouped=False))


def test_only_so_many_videos_stay_mapped(many: Path) -> None:
    cache = open_cache(many)
    for _ in range(2):
        for number, video_id in enumerate(cache):
            assert cache[video_id].tobytes() == random_rows(number, 2).tobytes()
            assert cache.times(video_id).tolist() == [0.0, 1.0]
    assert num_maps(many) == MAX_OPEN
    kept = cache["v299"]
    assert cache["v299"] is kept
    for video_id in cache.ids[:-1]:
        assert cache[video_id] is not None
        assert cache["v299"] is kept, "what is used again and again stays"


def test_threads_can_share_a_cache(many: Path) -> None:
    cache = open_cache(many)

    def read(seed: int) -> bool:
        numbers = np.random.default_rng(seed).integers(0, len(cache), 1000)
        return all(cache[f"v{n:03d}"].tobytes() == random_rows(int(n), 2).tobytes() for n in numbers)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(4)))


def test_rows_outlive_their_cache(many: Path) -> None:
    rows = open_cache(many)["v007"]
    assert rows.tobytes() == random_rows(7, 2).tobytes()


def test_a_reader_sees_new_videos_after_a_refresh(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 3)})
    cache = open_cache(path)
    kept = cache["a"]
    with CacheWriter(path, provenance()) as writer:
        store(writer, "b", random_rows(2, 4))
        assert cache.ids == ["a"]
        cache.refresh()
        assert cache.ids == ["a", "b"]
        assert cache["a"] is kept, "what has not changed stays mapped"
        store(writer, "a", random_rows(3, 5), b"changed")
        cache.refresh()
        assert len(cache["a"]) == len(cache.times("a")) == 5
    assert cache["a"].tobytes() == random_rows(3, 5).tobytes()


def test_frames_are_read_as_they_were_decoded(built_frames: Path, built: Path) -> None:
    frames, features = open_cache(built_frames), open_cache(built)
    assert frames["v0"].shape == (6, 16, 16, 3)
    assert frames["v0"].dtype == np.uint8
    assert frames.gather(["v0"], [5], 2).shape == (1, 2, 16, 16, 3)
    means = frames["v0"].mean(axis=(1, 2)).astype(np.float16)
    np.testing.assert_array_equal(features["v0"][:, :3], means)
    assert frames.times("v0").tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


class Rows(Dataset[NDArray[Any]]):
    def __init__(self, cache: FeatureCache) -> None:
        self.cache = cache

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index: int) -> NDArray[Any]:
        return np.array(self.cache[self.cache.ids[index]])


@pytest.mark.parametrize(("method", "num_workers"), [("fork", 2), ("spawn", 1)])
def test_workers_of_a_data_loader_read_the_same_rows(
    many: Path, method: Literal["fork", "spawn"], num_workers: int
) -> None:
    cache = open_cache(many)
    for video_id in cache.ids[:10]:  # maps that the workers inherit, or must not receive
        assert len(cache[video_id]) == 2
    loader = DataLoader(Rows(cache), batch_size=100, num_workers=num_workers, multiprocessing_context=method)
    got = torch.cat(list(loader)).numpy()
    wanted = [random_rows(number, 2) for number in range(len(cache))]
    np.testing.assert_array_equal(got, np.stack(wanted))


def test_a_pickled_cache_carries_no_rows(tmp_path: Path) -> None:
    cache = open_cache(write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 10_000)}))
    rows, times = cache["a"], cache.times("a")
    data = pickle.dumps(cache)
    assert len(data) < 2000
    again = pickle.loads(data)
    assert cache["a"] is rows, "pickling leaves the cache as it is"
    np.testing.assert_array_equal(again["a"], rows)
    np.testing.assert_array_equal(again.times("a"), times)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    return write_cache(tmp_path / "c.zarr", {name: random_rows(n, 4) for n, name in enumerate("ab")})


def test_missing_or_cut_rows_are_damage_with_a_remedy(damaged: Path) -> None:
    chunk = damaged / "videos" / "a" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(DamageError, match=r"video 'a': .* has 47 bytes, 48 were committed; run the same"):
        open_cache(damaged)["a"]
    chunk.unlink()
    with pytest.raises(DamageError, match=r"video 'a': .*No such file"):
        open_cache(damaged).gather(["a"], [0], 1)
    assert len(open_cache(damaged)["b"]) == 4


@pytest.mark.parametrize(
    "text", ["", "{}", '{"zarr_format":3,"node_type":"array","attributes":{"video_id":"a"}}']
)
def test_damaged_metadata_of_a_video_is_named(text: str, damaged: Path) -> None:
    metadata = damaged / "videos" / "a" / "zarr.json"
    metadata.write_text(text)
    with pytest.raises(DamageError, match=f"{metadata.parent}.*; remove {metadata.parent} and run the same"):
        open_cache(damaged).times("a")


def test_swapped_folders_are_noticed(damaged: Path, tmp_path: Path) -> None:
    videos = damaged / "videos"
    shutil.move(videos / "a", tmp_path / "swap")
    shutil.move(videos / "b", videos / "a")
    shutil.move(tmp_path / "swap", videos / "b")
    with pytest.raises(DamageError, match="must hold video 'a', got 'b'"):
        open_cache(damaged).times("a")
