# SPDX-License-Identifier: Apache-2.0
"""A packed cache that was copied to an object store: read by ranges, and checked to the byte."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cache_corpus import DIM, build, contents, random_rows, write_cache
from s3_places import copy_folder
from s3_server import Proxy

from ophclip.cache import export_cache, merge_caches, open_cache, pack_cache, sharded
from ophclip.cache.content import content_hash
from ophclip.cache.listing import list_videos, summarize
from ophclip.cache.location import ObjectPath
from ophclip.cache.repair import repair_cache
from ophclip.cache.verify import verify_cache
from ophclip.errors import DamageError, UsageError

pytest.importorskip("obstore")

SHARD, CHUNK = 64, 8  # rows, instead of 65,536 and 256
LENGTHS = {"a": 50, "b": 100, "c": 1, "d": 200}  # b lies in two shards, d in five


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("packed")
    rows = {name: random_rows(number, length) for number, (name, length) in enumerate(LENGTHS.items())}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded, "SHARD_ROWS", SHARD)
        patch.setattr(sharded, "CHUNK_ROWS", CHUNK)
        pack_cache(open_cache(write_cache(folder / "c.zarr", rows)), folder / "p.zarr")
        yield folder / "p.zarr"


@pytest.fixture
def copied(packed: Path, place: ObjectPath) -> ObjectPath:
    """The packed cache, copied to a bucket."""
    copy_folder(packed, place)
    return place


def test_it_is_read_as_on_a_disk(copied: ObjectPath, packed: Path) -> None:
    remote, local = open_cache(str(copied)), open_cache(packed)
    assert remote.ids == local.ids
    assert remote.provenance == local.provenance
    assert contents(copied) == contents(packed)  # type: ignore[arg-type]
    assert content_hash(remote) == content_hash(local)
    assert dict(remote.each_attributes()) == dict(local.each_attributes())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(remote))["b"], local["b"])
    facts, expected = summarize(copied), summarize(packed)
    for name in ("videos", "failed", "frames", "content_hash"):
        assert facts[name] == expected[name], name
    assert [video.video_id for video in list_videos(copied)] == list(LENGTHS)


def test_clips_and_rows_in_any_order_and_over_the_ends_of_shards_are_those_of_a_disk(
    copied: ObjectPath, packed: Path
) -> None:
    remote, local = open_cache(copied), open_cache(packed)
    rng = np.random.default_rng(0)
    ids = [str(name) for name in rng.choice(list(LENGTHS), 40)]
    for length in (1, 7, 70, 150):
        starts = [int(rng.integers(LENGTHS[name])) for name in ids]
        np.testing.assert_array_equal(
            remote.gather(ids, starts, length), local.gather(ids, starts, length), str(length)
        )
    rows = np.array([rng.integers(LENGTHS[name], size=9) for name in ids])
    np.testing.assert_array_equal(remote.take(ids, rows), local.take(ids, rows))
    with pytest.raises(UsageError, match="start must lie in"):
        remote.gather(["b"], [100], 1)


def test_only_what_is_asked_for_is_fetched(copied: ObjectPath, proxy: Proxy) -> None:
    cache = open_cache(copied)
    cache.gather(["c"], [0], 1)  # the tables are read once
    proxy.seen.clear()
    proxy.sent = 0
    cache.gather(["d", "a"], [100, 3], 4)
    assert len(proxy.seen) == 2
    assert proxy.sent == 2 * 4 * DIM * 2


def test_it_is_the_source_of_exports_packs_and_merges(
    copied: ObjectPath, packed: Path, tmp_path: Path
) -> None:
    export_cache(open_cache(copied), tmp_path / "npy", "npy")
    np.testing.assert_array_equal(np.load(tmp_path / "npy" / "d.npy"), open_cache(packed)["d"])
    merge_caches([copied], tmp_path / "m.zarr")
    assert contents(tmp_path / "m.zarr") == contents(packed)


def test_it_is_verified_and_not_repaired(copied: ObjectPath, packed: Path) -> None:
    report = verify_cache(copied)
    assert report.findings == []
    assert report.content_hash == verify_cache(packed).content_hash
    with pytest.raises(UsageError, match="packed cache, which is only read; pack it again"):
        repair_cache(copied)
    with pytest.raises(UsageError):
        build([], copied)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("name", "damage", "item"),
    [
        ("rows/c/1/0", lambda data: flip(data, 7), "b"),
        ("rows/c/1/0", lambda data: flip(data, len(data) - 1), "rows/c/1/0"),
        ("rows/c/5/0", lambda data: flip(data, len(data) - SHARD // CHUNK * 16 - 5), "rows/c/5/0"),
        ("rows/c/5/0", lambda data: data[:-1], "rows/c/5/0"),
        ("times/c/0", lambda data: flip(data, 0), "a"),
        ("hashes/c/0/0", lambda data: flip(data, 3), "hashes/c/0/0"),
        ("_journal/plan.sha256", lambda data: flip(data, 0), "_journal/plan.sha256"),
    ],
)
def test_a_flipped_bit_and_a_cut_shard_are_found(
    name: str, damage: Callable[[bytes], bytes], item: str, copied: ObjectPath
) -> None:
    place = copied / name
    place.bucket.put(place.key, damage(place.read_bytes()))
    assert [finding.item for finding in verify_cache(copied).findings] == [item]


def test_a_shard_that_is_not_there_is_named(copied: ObjectPath, packed: Path, place: ObjectPath) -> None:
    elsewhere = ObjectPath(place.bucket_name, f"{place.key}-without")
    copy_folder(packed, elsewhere, without="rows/c/0")
    cache = open_cache(elsewhere)
    np.testing.assert_array_equal(cache.gather(["d"], [0], 3), open_cache(packed).gather(["d"], [0], 3))
    for read in (lambda: cache["a"], lambda: cache.gather(["b"], [0], 3)):
        with pytest.raises(DamageError, match=r"rows/c/0/0: no such object; pack it again"):
            read()
    assert {"a", "b", "rows/c/0/0"} <= {finding.item for finding in verify_cache(elsewhere).findings}
