# SPDX-License-Identifier: Apache-2.0
"""Readers beside writers, in many processes, of 50,000 videos, of files that are cut behind their back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from cache_corpus import DIM, provenance, random_rows, store, write_cache
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from ophclip.cache import FeatureCache, open_cache, pack_cache, rowfile, sharded
from ophclip.cache.commit import CacheWriter
from ophclip.cache.layout import group_metadata
from ophclip.cache.rowfile import RowFile, RowFileError
from ophclip.errors import DamageError, OphclipError, UsageError

NUM_VIDEOS = 50_000
MAX_BYTES_A_VIDEO = 1200  # at the peak of opening; 830 were measured
LENGTHS = {f"v{number:02d}": 5 + number for number in range(40)}


@pytest.fixture(scope="module")
def rows() -> dict[str, NDArray[Any]]:
    return {name: random_rows(length, length) for name, length in LENGTHS.items()}


@pytest.fixture(scope="module", params=["plain", "packed"])
def path(
    request: pytest.FixtureRequest, rows: dict[str, NDArray[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    plain = write_cache(folder / "c.zarr", rows)
    if request.param == "plain":
        return plain
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded, "SHARD_ROWS", 256)
        pack_cache(open_cache(plain), folder / "p.zarr")
    return folder / "p.zarr"


class Clips(Dataset[NDArray[Any]]):
    """Whole batches, gathered by the workers."""

    def __init__(self, cache: FeatureCache) -> None:
        self.cache = cache

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> NDArray[Any]:
        ids = [self.cache.ids[(index * 7 + place) % len(self.cache)] for place in range(16)]
        return self.cache.gather(ids, [place % 5 for place in range(16)], 4)


@pytest.mark.parametrize(("method", "is_persistent"), [("fork", False), ("fork", True), ("spawn", True)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_of_either_start_method_gather_what_this_process_does(
    method: Literal["fork", "spawn"], is_persistent: bool, path: Path
) -> None:
    clips = Clips(open_cache(path))
    wanted = [clips[index] for index in range(len(clips))]  # files that are open, and mapped, at the fork
    loader = DataLoader(
        clips,
        batch_size=None,
        num_workers=2,
        multiprocessing_context=method,
        persistent_workers=is_persistent,
    )
    for _ in range(2 if is_persistent else 1):
        for got, batch in zip(loader, wanted, strict=True):
            np.testing.assert_array_equal(np.asarray(got), batch)


def test_threads_gather_from_one_cache(
    path: Path, rows: dict[str, NDArray[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rowfile, sharded):
        monkeypatch.setattr(module, "MAX_FILES", 3, raising=False)
    monkeypatch.setattr("ophclip.cache.store.MAX_FILES", 3)  # so that files are closed while others read them
    cache = open_cache(path)
    failures: list[list[str]] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(60):
            ids = [str(name) for name in rng.choice(list(rows), 8)]
            got = cache.gather(ids, [2] * 8, 3)
            wanted = np.stack([rows[name][2:5] for name in ids])
            if (got != wanted).any():
                failures.append(ids)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def num_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_open_files_are_bounded_and_closed_with_the_cache(
    tmp_path: Path, rows: dict[str, NDArray[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ophclip.cache.store.MAX_FILES", 8)
    cache, before = open_cache(write_cache(tmp_path / "c.zarr", rows)), num_descriptors()
    for _ in range(3):
        for video_id in cache:
            cache.gather([video_id] * 2, [0, 1], 2)  # twice, so that it is mapped
    assert num_descriptors() - before == 2 * 8  # a file and its map
    del cache
    assert num_descriptors() == before


SHARE = r"""
import json, re, sys
from pathlib import Path
import numpy
from ophclip.cache import open_cache

path = sys.argv[1]
rows = open_cache(path)["big"]
total = int(rows.view(numpy.uint8).sum())
smaps = Path("/proc/self/smaps").read_text()
block = re.search(rf"^\S+ .*{re.escape(path)}/.*\n((?:\w+:.*\n)+)", smaps, re.MULTILINE)
print(json.dumps([total, dict(re.findall(r"^(\w+): +(\d+) kB", block.group(1), re.MULTILINE))]), flush=True)
sys.stdin.read()  # the pages stay mapped until all have looked
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="smaps is Linux's")
def test_processes_share_the_pages_of_a_mapped_video(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"big": random_rows(1, 100_000)})
    command = [sys.executable, "-c", SHARE, str(path)]
    totals: set[int] = set()
    sizes: dict[str, int] = {}
    with ExitStack() as stack:
        for _ in range(3):  # one after another: the last shares with two
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(child.communicate)
            assert child.stdout is not None
            total, found = json.loads(child.stdout.readline())
            totals.add(total)
            sizes = {name: int(size) for name, size in found.items()}
    assert len(totals) == 1
    assert sizes["Rss"] > 1000
    assert sizes["Shared_Clean"] + sizes["Shared_Dirty"] == sizes["Rss"]
    assert sizes["Private_Clean"] + sizes["Private_Dirty"] == 0
    assert sizes["Pss"] <= sizes["Rss"] // 3 + 4


OPEN = """
import sys
from pathlib import Path
import numpy
from ophclip.cache import open_cache

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
cache = open_cache(sys.argv[1])
print(len(cache), status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory needs Linux")
def test_a_reader_of_a_corpus_holds_little_of_each_video(tmp_path: Path) -> None:
    path = tmp_path / "c.zarr"
    (path / "_journal").mkdir(parents=True)
    (path / "zarr.json").write_bytes(group_metadata({"format_version": 1, "provenance": provenance()}))
    with (path / "_journal" / "commits-one.jsonl").open("w") as journal:
        for number in range(NUM_VIDEOS):
            entry = {
                "video_id": f"case_{number:06d}",
                "folder": f"case_{number:06d}",
                "shape": [600 + number % 999, DIM],
                "source_path": f"/data/surgery/videos/case_{number:06d}.mp4",
                "source_size": 10**8 + number,
                "source_mtime_ns": 10**18 + number,
                "source_sha256": hashlib.sha256(str(number).encode()).hexdigest(),
                "time_ns": number,
            }
            journal.write(json.dumps(entry, separators=(",", ":")) + "\n")
    done = subprocess.run([sys.executable, "-c", OPEN, path], capture_output=True, text=True, check=True)
    count, peak = map(int, done.stdout.split())
    assert count == NUM_VIDEOS
    assert peak < MAX_BYTES_A_VIDEO * NUM_VIDEOS


def test_a_replaced_video_keeps_its_old_rows_until_a_refresh(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 6), "b": random_rows(2, 6)})
    mapped, gathered, fresh = (open_cache(path) for _ in range(3))
    kept, times = mapped["a"], mapped.times("a")
    gathered.gather(["a"], [0], 6)
    with CacheWriter(path, provenance()) as writer:
        store(writer, "a", random_rows(3, 9), b"changed")
    assert mapped["a"] is kept
    assert mapped.times("a") is times
    for _ in range(3):
        assert gathered.gather(["a"], [0], 6).tobytes() == random_rows(1, 6).tobytes()
    says = "video 'a' was replaced since .* was opened; call refresh"
    for read in (fresh.__getitem__, fresh.times, lambda name: fresh.gather([name], [0], 1)):
        with pytest.raises(OphclipError, match=says) as caught:
            read("a")
        assert not isinstance(caught.value, DamageError)
    for cache in (mapped, gathered, fresh):
        cache.refresh()
        assert cache["a"].tobytes() == cache.gather(["a"], [0], 9).tobytes() == random_rows(3, 9).tobytes()
        assert len(cache.times("a")) == 9
    assert kept.tobytes() == random_rows(1, 6).tobytes(), "what was taken before stays what it was"


def test_times_of_other_rows_are_not_given_for_those_in_use(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 6)})
    cache = open_cache(path)
    assert len(cache["a"]) == 6
    with CacheWriter(path, provenance()) as writer:
        store(writer, "a", random_rows(3, 6), b"changed")  # as many rows
    with pytest.raises(OphclipError, match="was replaced since"):
        cache.times("a")


def test_readers_beside_a_writer_see_only_whole_videos(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(0, 4)})
    is_done = threading.Event()

    def write() -> None:
        with CacheWriter(path, provenance()) as writer:
            for number in range(1, 40):
                store(writer, "a", random_rows(number, 4 + number % 3), bytes([number]))
                store(writer, f"b{number}", random_rows(number, 3), bytes([number]))
        is_done.set()

    versions = {random_rows(number, 4 + number % 3).tobytes() for number in range(1, 40)}
    versions.add(random_rows(0, 4).tobytes())
    thread = threading.Thread(target=write)
    thread.start()
    cache, num_read = open_cache(path), 0
    refusals: list[str] = []
    while not is_done.is_set():
        try:
            cache.refresh()
            for video_id in cache:
                data = cache.gather([video_id], [0], cache.num_frames(video_id))[0].tobytes()
                is_whole = data in versions if video_id == "a" else True
                assert is_whole
                num_read += 1
        except OphclipError as error:
            refusals.append(error.message)
    thread.join()
    assert all("was replaced since" in message for message in refusals)
    cache.refresh()
    assert len(cache) == 40
    assert num_read > 0


@pytest.mark.parametrize("num_reads", [0, 1, 3])  # not open, open, mapped
def test_a_file_that_is_cut_short_is_damage_and_not_a_signal(num_reads: int, tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 10_000)})
    cache = open_cache(path)
    for _ in range(num_reads):
        cache.gather(["a"], [9000], 16)
    os.truncate(path / "videos" / "a" / "c" / "0" / "0", 5000)
    with pytest.raises(DamageError, match=r"video 'a': .* has 5000 bytes, 120000 were committed"):
        cache.gather(["a"], [9000], 16)


def test_reading_past_what_one_call_gives_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows").write_bytes(bytes(range(256)))
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, parts, at: real(file, [parts[0][:100]], at))
    data = bytearray(250)
    RowFile(str(tmp_path / "rows"), 256).read_into(memoryview(data), 6)
    assert data == bytes(range(6, 256))
    os.truncate(tmp_path / "rows", 256)
    with pytest.raises(RowFileError, match="No such file"):
        RowFile(str(tmp_path / "none"), 256)


def test_gather_fills_and_returns_a_torch_tensor(path: Path, rows: dict[str, NDArray[Any]]) -> None:
    cache = open_cache(path)
    buffer = torch.zeros(2, 3, DIM, dtype=torch.float16)
    if torch.cuda.is_available():
        buffer = buffer.pin_memory()
    got = cache.gather(["v03", "v30"], torch.tensor([2, 34]), 3, out=buffer)
    assert got is buffer
    np.testing.assert_array_equal(got[0].numpy(), rows["v03"][2:5])
    np.testing.assert_array_equal(got[1].numpy(), rows["v30"][[34, 34, 34]])


def test_gather_fills_memory_that_is_not_contiguous(path: Path, rows: dict[str, NDArray[Any]]) -> None:
    out = np.zeros((2, DIM, 3), np.float16).transpose(0, 2, 1)
    assert open_cache(path).gather(["v03", "v30"], np.array([2, 33], np.int16), 3, out=out) is out
    np.testing.assert_array_equal(out[0], rows["v03"][2:5])
    np.testing.assert_array_equal(out[1], rows["v30"][[33, 34, 34]])


def test_gather_of_no_clips_or_of_no_rows_is_empty(path: Path) -> None:
    cache = open_cache(path)
    assert cache.gather([], [], 16).shape == (0, 16, DIM)
    assert cache.gather(["v00"], [1], 0).shape == (1, 0, DIM)


def test_gather_refuses_memory_and_starts_that_do_not_serve(path: Path) -> None:
    cache = open_cache(path)
    read_only = np.zeros((1, 2, DIM), np.float16)
    read_only.flags.writeable = False
    with pytest.raises(UsageError, match="read-only"):
        cache.gather(["v00"], [0], 2, out=read_only)
    with pytest.raises(UsageError, match="a tensor on the CPU without a gradient, got one on meta"):
        cache.gather(["v00"], [0], 2, out=torch.empty(1, 2, DIM, dtype=torch.float16, device="meta"))
    for starts in ([0.5], [[0]], ["0"]):
        with pytest.raises(UsageError, match="starts must be whole numbers"):
            cache.gather(["v00"], starts, 2)
