# SPDX-License-Identifier: Apache-2.0
"""Reading a cache: a batch of clips from pages in memory, from the disk, of 50,000 videos; opening it.

Each peer is given its best form: handles that stay open, the same copies, uncompressed chunks it can seek in.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ophclip.bench import Case, Session, Target
from ophclip.bench.case import Contest, Runner
from ophclip.cache import FeatureCache, open_cache, pack_cache
from ophclip.cache.layout import chunk_path, group_metadata
from ophclip.cache.packtables import write_metadata
from ophclip.cache.sharded import bytes_codec, zarr_metadata

BATCH, LENGTH, DIM = 256, 16, 768
ROWS = 320  # of a video
CORPUS = 50_000
SECTION = "reading a cache"
MEMCPY, MEMMAP = "memcpy", "np.memmap"
Clips = tuple[list[str], list[int]]


def reading_cases(folder: Path, *, is_smoke: bool) -> list[Case]:
    """Return the cases; stores are made in `folder` when first used."""
    num_videos, corpus = (8, 500) if is_smoke else (256, CORPUS)
    target = (Target(MEMMAP, least=0.667),)
    plain = functools.cache(lambda: make_cache(folder / "plain.zarr", num_videos))
    packed = functools.cache(lambda: _pack(plain(), folder / "packed.zarr"))
    cold = functools.cache(lambda: make_cache(folder / "cold.zarr", num_videos))  # which nothing maps
    cold_packed = functools.cache(lambda: _pack(cold(), folder / "cold-packed.zarr"))
    batch = f"{BATCH} clips x {LENGTH} x {DIM} of {num_videos} videos"
    return [
        Case(f"gather {batch}", SECTION, lambda session: _warm(session, plain()), target),
        Case(f"gather packed, {batch}", SECTION, lambda session: _warm(session, packed(), plain()), target),
        Case(f"gather {batch}, each opened anew", SECTION, lambda _: _opened_anew(plain()), target),
        Case(f"gather {batch}, not in memory", SECTION, lambda _: _from_disk(cold(), cold_packed())),
        Case(
            f"open a cache of {corpus} videos",
            SECTION,
            lambda _: Contest(figures=lambda: _opening(folder / "corpus.zarr", corpus)),
            (Target("CPU-s to open", most=0.3),),
        ),
    ]


def _warm(session: Session, cache: FeatureCache, plain: FeatureCache | None = None) -> Contest:
    """Batches whose pages are in memory, each of other clips than the one before."""
    source = plain or cache
    batches, out = _batches(cache), np.empty((BATCH, LENGTH, DIM), np.float16)
    answer = source.gather(*batches[0], LENGTH)
    peers: dict[str, Callable[[], Runner]] = {
        MEMCPY: lambda: _in_turn([None], lambda _: np.copyto(out, answer), out),
        MEMMAP: lambda: _in_turn(batches, _memmap(source, out), out),
        "Zarr": lambda: _in_turn(batches, _zarr(source, out), out),
        "tensorstore": lambda: _in_turn(batches, _tensorstore(source, out), out),
        "h5py": lambda: _in_turn(batches, _h5py(source, out), out),
    }
    ours = np.empty_like(out)
    for _ in range(2):  # opened, and mapped
        for ids, starts in batches:
            cache.gather(ids, starts, LENGTH, out=ours)
    return Contest(
        ours=_in_turn(batches, lambda clips: cache.gather(*clips, LENGTH, out=ours), ours), peers=peers
    )


def _opened_anew(cache: FeatureCache) -> Contest:
    """What a corpus of far more videos than can be kept open costs: each clip opens its file."""
    batches, out, ours = _batches(cache), *(np.empty((BATCH, LENGTH, DIM), np.float16) for _ in range(2))

    def gather(clips: Clips) -> None:
        cache._files.clear()
        cache.gather(*clips, LENGTH, out=ours)

    def memmap(clips: Clips) -> None:
        for slot, video_id, start in zip(out, *clips, strict=True):
            slot[:] = _map_of(cache, video_id)[start : start + LENGTH]

    return Contest(
        ours=_in_turn(batches, gather, ours), peers={MEMMAP: lambda: _in_turn(batches, memmap, out)}
    )


def _from_disk(cache: FeatureCache, packed: FeatureCache) -> Contest:
    """The same after the system has dropped every page, five times in turn; seconds of the fastest."""

    def figures() -> dict[str, float]:
        batches, out = _batches(cache), np.empty((BATCH, LENGTH, DIM), np.float16)
        runs: dict[str, Callable[[Clips], object]] = {
            "ms, ours": lambda clips: open_cache(cache.path).gather(*clips, LENGTH, out=out),
            "ms, packed": lambda clips: open_cache(packed.path).gather(*clips, LENGTH, out=out),
            "ms, np.memmap": lambda clips: _memmap(cache, out)(clips),  # a page that is mapped is not dropped
        }
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(5):
            for name, run in runs.items():
                _drop_pages(cache.path)
                _drop_pages(packed.path)
                begin = time.perf_counter()
                run(batches[number % len(batches)])
                taken[name].append(1000 * (time.perf_counter() - begin))
        return {name: min(values) for name, values in taken.items()}

    return Contest(figures=figures)


def _opening(path: Path, num_videos: int) -> dict[str, float]:
    """Open a cache of many videos in fresh processes; its journal is made without any."""
    if not path.exists():
        _make_journal(path, num_videos)
    runs = [
        json.loads(
            subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, check=True).stdout
        )
        for _ in range(5)
    ]
    return {
        "CPU-s to open": min(run["s"] for run in runs),
        "bytes a video": min(run["bytes"] for run in runs) / num_videos,
    }


OPEN = """
import json, sys, time
from pathlib import Path
from ophclip.cache import open_cache

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
begin = time.process_time()
cache = open_cache(sys.argv[1])
seconds = time.process_time() - begin
print(json.dumps({"s": seconds, "bytes": status("VmHWM") - before}))
"""


def _memmap(cache: FeatureCache, out: NDArray[Any]) -> Callable[[Clips], None]:
    maps = {video_id: _map_of(cache, video_id) for video_id in cache}

    def run(clips: Clips) -> None:
        for slot, video_id, start in zip(out, *clips, strict=True):
            slot[:] = maps[video_id][start : start + LENGTH]

    return run


def _map_of(cache: FeatureCache, video_id: str) -> np.memmap[Any, Any]:
    path = chunk_path(cache.path / "videos" / video_id, 2)
    return np.memmap(path, np.float16, "r", shape=(ROWS, DIM))


def _zarr(cache: FeatureCache, out: NDArray[Any]) -> Callable[[Clips], None]:
    """Zarr's own API on the same store, its arrays kept open."""
    import zarr

    group: Any = zarr.open_group(cache.path / "videos", mode="r")
    arrays = {video_id: group[video_id] for video_id in cache}

    def run(clips: Clips) -> None:
        for slot, video_id, start in zip(out, *clips, strict=True):
            slot[:] = arrays[video_id][start : start + LENGTH]

    return run


def _tensorstore(cache: FeatureCache, out: NDArray[Any]) -> Callable[[Clips], None]:
    """The same store, all reads of a batch at once; what it has read stays in its cache of chunks."""
    import tensorstore

    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 1 << 30}})
    stores = {}
    for video_id in cache:
        spec = {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": f"{cache.path}/videos/{video_id}/"},
            "recheck_cached_data": False,
        }
        stores[video_id] = tensorstore.open(spec, context=context).result()

    def run(clips: Clips) -> None:
        reads = [
            stores[video_id][start : start + LENGTH].read() for video_id, start in zip(*clips, strict=True)
        ]
        for slot, read in zip(out, reads, strict=True):
            slot[:] = read.result()

    return run


def _h5py(cache: FeatureCache, out: NDArray[Any]) -> Callable[[Clips], None]:
    """One HDF5 file with a contiguous data set a video, read straight into the batch."""
    import h5py

    path = cache.path.with_suffix(".h5")
    if not path.exists():
        with h5py.File(path, "w") as file:
            for video_id in cache:
                file[video_id] = cache[video_id]
    file = h5py.File(path, "r")
    sets = {video_id: file[video_id] for video_id in cache}

    def run(clips: Clips) -> None:
        for slot, video_id, start in zip(out, *clips, strict=True):
            sets[video_id].read_direct(slot, np.s_[start : start + LENGTH])

    return run


def _in_turn(batches: list[Any], run: Callable[[Any], object], out: NDArray[Any]) -> Runner:
    """Return a runner that takes the batches in turn, the first one first: all are compared by it."""
    count = 0

    def step() -> Tensor:
        nonlocal count
        run(batches[count % len(batches)])
        count += 1
        return torch.from_numpy(out)

    return step


def _batches(cache: FeatureCache) -> list[Clips]:
    rng = np.random.default_rng(0)
    ids = cache.ids
    return [
        (
            [ids[number] for number in rng.integers(len(ids), size=BATCH)],
            rng.integers(ROWS - LENGTH, size=BATCH).tolist(),
        )
        for _ in range(16)
    ]


def _drop_pages(path: Path) -> None:
    for entry in path.rglob("*"):
        if entry.is_file():
            descriptor = os.open(entry, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def _pack(cache: FeatureCache, out: Path) -> FeatureCache:
    pack_cache(cache, out)
    return open_cache(out)


def make_cache(path: Path, num_videos: int, *, encoder: str = "random", num_rows: int = ROWS) -> FeatureCache:
    """Write a cache of random rows, without the syncs of a build."""
    _make_journal(path, num_videos, encoder, num_rows)
    codec = bytes_codec("float16")
    for number in range(num_videos):
        folder = path / "videos" / _name(number)
        rows = np.random.default_rng(number).standard_normal((num_rows, DIM), np.float32).astype(np.float16)
        chunk = chunk_path(folder, 2)
        chunk.parent.mkdir(parents=True)
        rows.tofile(chunk)
        write_metadata(
            folder, zarr_metadata(rows.shape, list(rows.shape), "float16", codec) | _attributes(number, rows)
        )
    (path / "videos" / "zarr.json").write_bytes(group_metadata({}))
    return open_cache(path)


def _attributes(number: int, rows: NDArray[Any]) -> dict[str, Any]:
    attributes = {
        "video_id": _name(number),
        "source_sha256": _source_hash(number),
        "data_sha256": hashlib.sha256(rows.tobytes()).hexdigest(),
        "pts": list(range(len(rows))),
        "frame_times_s": [float(row) for row in range(len(rows))],
    }
    return {"attributes": attributes}


def _make_journal(path: Path, num_videos: int, encoder: str = "random", num_rows: int = ROWS) -> None:
    (path / "_journal").mkdir(parents=True)
    provenance = {
        "encoder": encoder,
        "key": {},
        "row_shape": [DIM],
        "dtype": "float16",
        "fps": 1.0,
        "versions": {},
    }
    (path / "zarr.json").write_bytes(group_metadata({"format_version": 1, "provenance": provenance}))
    with (path / "_journal" / "commits-one.jsonl").open("w") as journal:
        for number in range(num_videos):
            entry = {
                "video_id": _name(number),
                "folder": _name(number),
                "shape": [num_rows, DIM],
                "source_path": f"/data/surgery/videos/{_name(number)}.mp4",
                "source_size": 10**8 + number,
                "source_mtime_ns": 10**18 + number,
                "source_sha256": _source_hash(number),
                "time_ns": 10**18 + number,
            }
            journal.write(json.dumps(entry, separators=(",", ":")) + "\n")


def _name(number: int) -> str:
    return f"case_{number:06d}"


def _source_hash(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()
