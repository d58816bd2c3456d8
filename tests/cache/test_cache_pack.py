# SPDX-License-Identifier: Apache-2.0
"""Packing: the same values by our reader and by others, the same bytes each time, whole or absent."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import struct
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import tensorstore
import zarr
from cache_children import finish, start
from cache_corpus import DIM, assert_same_values, provenance, random_rows, store, tree, write_cache

from ophclip.cache import open_cache, pack_cache, sharded
from ophclip.cache.commit import CacheWriter
from ophclip.cache.exclusive import alone_in
from ophclip.cache.packed import PackedCache
from ophclip.cache.sharded import Grid, rows_at_a_time
from ophclip.errors import DamageError, StorageError, UsageError

PAGE = 4096
SHARD, CHUNK = 64, 8  # rows, instead of 65,536 and 256
LENGTHS = {"a/b.é": 4, "one": 1, "v0": 30, "v1": 200, "v2": 63, "v3": 2}  # 300 rows in five shards
PACK_POINTS = (
    "pack-after-tables",
    "pack-mid-shard",
    "pack-after-shard",
    "pack-before-rename",
    "pack-after-rename",
)


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded, "SHARD_ROWS", SHARD)
        patch.setattr(sharded, "CHUNK_ROWS", CHUNK)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = {name: random_rows(number, length) for number, (name, length) in enumerate(LENGTHS.items())}
    return write_cache(tmp_path_factory.mktemp("source") / "c.zarr", rows)


@pytest.fixture(scope="module")
def packed_path(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "p.zarr"
    pack_cache(open_cache(source), out)
    return out


@pytest.fixture
def copy(packed_path: Path, tmp_path: Path) -> Path:
    """A packed cache to damage."""
    return Path(shutil.copytree(packed_path, tmp_path / "copy.zarr"))


def test_a_packed_cache_reads_as_the_one_it_was_packed_from(source: Path, packed_path: Path) -> None:
    packed = open_cache(packed_path)
    assert isinstance(packed, PackedCache)
    assert_same_values(packed, open_cache(source))
    packed.refresh()
    assert_same_values(packed, open_cache(source))


def test_gather_equals_that_of_the_source_across_shards(source: Path, packed_path: Path) -> None:
    cache, packed = open_cache(source), open_cache(packed_path)
    rng = np.random.default_rng(0)
    ids = [str(name) for name in rng.choice(list(LENGTHS), 300)]
    starts = [int(rng.integers(LENGTHS[name])) for name in ids]
    for _ in range(3):  # read, then mapped
        np.testing.assert_array_equal(packed.gather(ids, starts, 150), cache.gather(ids, starts, 150))


def test_rows_of_a_packed_cache_cannot_be_written(packed_path: Path) -> None:
    packed = open_cache(packed_path)
    for video_id in ("v0", "v1"):  # in one shard, and in several
        with pytest.raises(ValueError, match="read-only"):
            packed[video_id][0] = 0
    with pytest.raises(ValueError, match="read-only"):
        packed.times("v0")[0] = 0


def test_zarr_reads_the_same_arrays_without_a_warning(source: Path, packed_path: Path) -> None:
    cache = open_cache(source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group: Any = zarr.open_group(packed_path, mode="r")
        arrays = {name: array[:] for name, array in group.arrays()}
    assert list(arrays["ids"]) == cache.ids
    for number, video_id in enumerate(cache.ids):
        first, end = arrays["offsets"][number : number + 2]
        np.testing.assert_array_equal(arrays["rows"][first:end], cache[video_id])
        np.testing.assert_array_equal(arrays["times"][first:end], cache.times(video_id))
        attributes = cache.attributes(video_id)
        assert arrays["pts"][first:end].tolist() == attributes["pts"]
        assert arrays["hashes"][number].tobytes().hex() == attributes["data_sha256"]
        begin, stop = arrays["attribute_offsets"][number : number + 2]
        text = json.loads(arrays["attributes"][begin:stop].tobytes())
        assert text == {key: attributes[key] for key in attributes if key not in ("pts", "frame_times_s")}
    assert group["rows"].shards == (SHARD, DIM)
    assert group["rows"].chunks == (CHUNK, DIM)


def test_tensorstore_reads_the_same_rows(source: Path, packed_path: Path) -> None:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(packed_path / "rows")}}
    cache = open_cache(source)
    rows = tensorstore.open(spec).result().read().result()
    np.testing.assert_array_equal(rows, np.concatenate([cache[video_id] for video_id in cache]))


def test_the_bytes_of_a_shard_are_its_rows_in_order_and_then_the_index(
    source: Path, packed_path: Path
) -> None:
    cache = open_cache(source)
    rows = np.concatenate([cache[video_id] for video_id in cache])
    last = (packed_path / "rows" / "c" / "4" / "0").read_bytes()
    data, index = last[: -(SHARD // CHUNK * 16 + 4)], last[-(SHARD // CHUNK * 16 + 4) :]
    assert data == rows[4 * SHARD :].tobytes() + bytes(4 * DIM * 2)  # 44 rows, and zeros up to 48
    chunk = CHUNK * DIM * 2
    expected = [pair for number in range(6) for pair in (number * chunk, chunk)] + [2**64 - 1] * 4
    assert list(struct.unpack("<16Q", index[:-4])) == expected
    assert struct.unpack("<I", index[-4:])[0] == google_crc32c.value(index[:-4])


def test_packing_again_gives_the_same_bytes_and_nothing_is_left_beside(
    source: Path, packed_path: Path, tmp_path: Path
) -> None:
    report = pack_cache(open_cache(source), tmp_path / "again.zarr")
    assert tree(tmp_path / "again.zarr") == tree(packed_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["again.zarr"]
    assert (report.num_videos, report.num_rows, report.num_shards) == (6, 300, 5)
    repacked = tmp_path / "repacked.zarr"
    pack_cache(open_cache(packed_path), repacked)
    assert tree(repacked) == tree(packed_path)


def test_a_second_run_does_nothing(source: Path, packed_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in packed_path.rglob("*")}
    assert pack_cache(open_cache(source), packed_path).was_there
    assert {path: path.stat().st_mtime_ns for path in packed_path.rglob("*")} == before


def test_frames_are_packed_too(built_frames: Path, tmp_path: Path) -> None:
    pack_cache(open_cache(built_frames), tmp_path / "p.zarr")
    packed, frames = open_cache(tmp_path / "p.zarr"), open_cache(built_frames)
    assert_same_values(packed, frames)
    group: Any = zarr.open_group(tmp_path / "p.zarr", mode="r")
    np.testing.assert_array_equal(group["rows"][:6], frames["v0"])


def test_large_rows_come_fewer_to_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(sharded, "SHARD_ROWS", 65_536)
    monkeypatch.setattr(sharded, "CHUNK_ROWS", 256)
    assert rows_at_a_time(768 * 2) == (65_536, 256)
    assert rows_at_a_time(224 * 224 * 3) == (4096, 4)
    assert rows_at_a_time(1 << 31) == (1, 1)


def test_an_empty_cache_is_packed_as_an_empty_one(tmp_path: Path) -> None:
    pack_cache(open_cache(write_cache(tmp_path / "c.zarr", {})), tmp_path / "p.zarr")
    assert open_cache(tmp_path / "p.zarr").ids == []
    group: Any = zarr.open_group(tmp_path / "p.zarr", mode="r")
    assert group["rows"].shape == (0, DIM)


def test_a_packed_cache_travels_to_another_process(source: Path, packed_path: Path) -> None:
    packed = open_cache(packed_path)
    packed.gather(["v0"], [0], 3)
    packed.attributes("v1")
    assert_same_values(pickle.loads(pickle.dumps(packed)), open_cache(source))


def test_writing_into_a_packed_cache_is_refused(packed_path: Path, tmp_path: Path) -> None:
    before = tree(packed_path)
    with pytest.raises(UsageError, match="is a packed cache, which is only read"):
        CacheWriter(packed_path, provenance())
    assert tree(packed_path) == before


@pytest.mark.parametrize("kind", ["file", "folder", "cache", "other videos"])
def test_a_place_that_is_taken_is_refused_and_left_alone(kind: str, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "taken"
    if kind == "file":
        out.write_text("mine")
    elif kind == "folder":
        out.mkdir()
    else:
        write_cache(out, {"v0": random_rows(1, 2)})
        if kind == "other videos":
            pack_cache(open_cache(out), tmp_path / "p.zarr")
            out = tmp_path / "p.zarr"
    with pytest.raises(UsageError, match="exists and is not this cache, packed; remove it"):
        pack_cache(open_cache(source), out)
    assert out.exists()
    assert not (tmp_path / f".{out.name}.packing").exists()


def test_packing_into_the_cache_itself_is_refused(source: Path) -> None:
    with pytest.raises(UsageError, match="name an --out outside the cache"):
        pack_cache(open_cache(source), source / "p.zarr")


def pack_child(source: Path, out: Path) -> None:
    sharded.SHARD_ROWS, sharded.CHUNK_ROWS = SHARD, CHUNK
    pack_cache(open_cache(source), out)


@pytest.mark.parametrize("point", PACK_POINTS)
def test_a_kill_leaves_nothing_or_all_and_the_next_run_completes_the_same_bytes(
    point: str, source: Path, packed_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.zarr"
    assert finish(start(pack_child, source, out, crash_at=point)) == -signal.SIGKILL
    assert out.exists() == (point == "pack-after-rename")
    report = pack_cache(open_cache(source), out)
    assert tree(out) == tree(packed_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.zarr"]
    if point == "pack-before-rename":
        assert report.num_resumed == len(LENGTHS), "no rows are copied again"


def test_kills_at_any_time_are_gone_on_from(source: Path, packed_path: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for number in range(15):
        out = tmp_path / f"{number}" / "p.zarr"
        process = start(pack_child, source, out)
        time.sleep(float(rng.uniform(0, 0.15)))
        process.kill()
        process.join()
        assert not out.exists() or tree(out) == tree(packed_path)
        pack_cache(open_cache(source), out)
        assert tree(out) == tree(packed_path)


def test_shards_of_other_rows_are_not_taken_over(source: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(source, tmp_path / "c.zarr"))
    out = tmp_path / "p.zarr"
    assert finish(start(pack_child, changed, out, crash_at="pack-before-rename")) == -signal.SIGKILL
    with CacheWriter(changed, provenance()) as writer:
        store(writer, "v1", random_rows(99, 200), b"changed")
    report = pack_cache(open_cache(changed), out)
    assert report.num_resumed == 0
    assert_same_values(open_cache(out), open_cache(changed))


def test_a_damaged_video_is_named_and_nothing_appears(source: Path, tmp_path: Path) -> None:
    damaged, out = Path(shutil.copytree(source, tmp_path / "c.zarr")), tmp_path / "p.zarr"
    chunk = damaged / "videos" / "v1" / "c" / "0" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    for _ in range(2):  # shards that hold some of its rows must not be taken for good ones
        with pytest.raises(DamageError, match="video 'v1': the rows are not those that were committed"):
            pack_cache(open_cache(damaged), out)
        assert not out.exists()
    chunk.write_bytes(whole)
    pack_cache(open_cache(damaged), out)
    assert_same_values(open_cache(out), open_cache(source))


def test_of_two_runs_at_once_one_is_refused(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.zarr"
    with (
        alone_in(tmp_path / ".p.zarr.packing", "_journal/lock", "busy"),
        pytest.raises(UsageError, match=r"another process is packing into .*p\.zarr; let it finish"),
    ):
        pack_cache(open_cache(source), out)
    assert not out.exists()


def test_many_runs_at_once_leave_one_whole_pack(source: Path, packed_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.zarr"
    results: list[object] = []

    def run() -> None:
        try:
            results.append(pack_cache(open_cache(source), out))
        except UsageError as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert not all(isinstance(result, UsageError) for result in results)
    assert tree(out) == tree(packed_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.zarr"]


def test_a_full_disk_is_a_clear_error_and_the_next_run_goes_on(
    source: Path, packed_path: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        pages, is_full, messages = 0, True, []
        while is_full:  # with a page more each time, so that each step finds the disk full once
            (disk / "filler").write_bytes(b"x" * ((os.statvfs(disk).f_bavail - pages) * PAGE))
            try:
                pack_cache(open_cache(source), disk / "p.zarr")
                is_full = False
            except StorageError as error:
                messages.append(error.message)
            assert is_full != (disk / "p.zarr").exists()
            (disk / "filler").unlink()
            pages += 1
        assert len(messages) > 5
        assert all("No space left on device" in text or "are free" in text for text in messages)
        assert tree(disk / "p.zarr") == tree(packed_path)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_shard_that_is_cut_or_gone_is_damage(damage: str, copy: Path) -> None:
    shard = copy / "rows" / "c" / "1" / "0"
    if damage == "cut":
        os.truncate(shard, shard.stat().st_size - 1)
    else:
        shard.unlink()
    packed = open_cache(copy)
    says = r"video 'v1': .*pack it again from the cache"
    with pytest.raises(DamageError, match=says):
        packed.gather(["v1"], [40], 1)
    with pytest.raises(DamageError, match=says):
        packed["v1"]
    assert len(packed["one"]) == 1, "what lies in other shards is still read"


def test_a_journal_that_lost_videos_is_damage(copy: Path) -> None:
    journal = copy / "_journal" / "commits-packed.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(DamageError, match="6 videos of 300 rows were packed, its journal has 5 of 298"):
        open_cache(copy)


def test_metadata_that_was_not_packed_is_damage(copy: Path) -> None:
    path = copy / "rows" / "zarr.json"
    path.write_text(path.read_text().replace(f"[{SHARD},", f"[{2 * SHARD},"))
    with pytest.raises(DamageError, match="the metadata of 'rows' is not what was packed"):
        open_cache(copy).gather(["v0"], [0], 1)


def test_attributes_that_cannot_be_read_are_damage(copy: Path) -> None:
    path = copy / "attributes" / "c" / "0"
    path.write_bytes(path.read_bytes().replace(b'"video_id":"v0"', b'"video_id":"vX"'))
    with pytest.raises(DamageError, match="must hold video 'v0', got 'vX'"):
        open_cache(copy).attributes("v0")
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DamageError, match="the attributes of video 'v0'"):
        open_cache(copy).attributes("v0")


def test_a_packed_format_of_a_later_program_is_refused(copy: Path) -> None:
    path = copy / "zarr.json"
    path.write_text(path.read_text().replace('"packed_version":1', '"packed_version":2'))
    with pytest.raises(UsageError, match="the packed format must be 1, got 2; upgrade ophclip"):
        open_cache(copy)


def test_the_padding_and_index_of_a_full_shard_are_full() -> None:
    grid = Grid((128, 3), "uint8", 64, 8)
    assert grid.padding(1) == b""
    assert len(grid.index(1)) == 8 * 16 + 4
    assert grid.file_bytes(1) == 64 * 3 + 8 * 16 + 4
