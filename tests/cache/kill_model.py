# SPDX-License-Identifier: Apache-2.0
"""A writer to kill, which says what it does as it does it, and a model of what must be in the cache then."""

from __future__ import annotations

import os
import random
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cache_corpus import attributes, contents, provenance, random_rows
from numpy.typing import NDArray

from ophclip.cache.commit import CacheWriter
from ophclip.cache.journal import Commit

NUM_VIDEOS = 30


def video_ids() -> list[str]:
    return [f"case {number:02d}" for number in range(NUM_VIDEOS)]


def rows_of(video_id: str, version: int) -> NDArray[Any]:
    seed = zlib.crc32(f"{video_id} {version}".encode())
    return random_rows(seed, 1 + seed % 200)


def steps() -> list[tuple[str, int]]:
    """Every video once; every third is then replaced by another version."""
    first = [(video_id, 0) for video_id in video_ids()]
    return first + [(video_id, 1) for video_id in video_ids()[::3]]


class WrongOrder(CacheWriter):
    """The positive control: the journal line first, the folder after it."""

    def _publish(self, temporary: Path, commit: Commit) -> Commit:
        self._journal.commit(commit)
        return super()._publish(temporary, commit)


def write_until_killed(path: Path, log: Path, seed: int, writer_class: type[CacheWriter]) -> None:
    """Store what is not stored yet; `log` says of each video, before and after, that it is begun and done."""
    rng, fsync = random.Random(seed), os.fsync

    def slow_fsync(descriptor: int) -> None:
        time.sleep(rng.uniform(0, 0.002))  # a slow disk, on which most of the time is spent in a commit
        fsync(descriptor)

    os.fsync = slow_fsync
    said = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    with writer_class(path, provenance()) as writer:
        for video_id, version in steps():
            stored = stored_version(writer, video_id)
            if stored >= version:  # also where its writer died before it could say so
                os.write(said, f"done\t{video_id}\t{stored}\n".encode())
                continue
            os.write(said, f"begin\t{video_id}\t{version}\n".encode())
            rows = rows_of(video_id, version)
            source = attributes(video_id, len(rows), b"%d" % version)
            batches = (rows[begin : begin + 50] for begin in range(0, len(rows), 50))
            writer.store(video_id, batches, source, source_path=f"/{video_id}", source_mtime_ns=version)
            os.write(said, f"done\t{video_id}\t{version}\n".encode())


def stored_version(writer: CacheWriter, video_id: str) -> int:
    return writer.commits[video_id].source_mtime_ns if writer.is_stored(video_id) else -1


@dataclass
class Model:
    """What the log says: the versions that were stored for sure, and the video that was in hand."""

    done: dict[str, int] = field(default_factory=dict)
    in_hand: tuple[str, int] | None = None

    @classmethod
    def read(cls, log: Path) -> Model:
        model = cls()
        for line in log.read_text().splitlines() if log.exists() else []:
            what, video_id, version = line.split("\t")
            if what == "done":
                model.done[video_id] = int(version)
            model.in_hand = (video_id, int(version)) if what == "begin" else None
        return model

    def check(self, path: Path) -> set[str]:
        """Assert that a reader sees exactly what was stored, bit for bit; return the ids that it sees."""
        seen = contents(path)
        allowed = {video_id: {version} for video_id, version in self.done.items()}
        must = set(self.done)
        if self.in_hand is not None:
            video_id, version = self.in_hand
            allowed.setdefault(video_id, set()).add(version)
            must.discard(video_id)  # revoked while it is replaced
        assert must <= seen.keys(), f"committed videos are gone: {sorted(must - seen.keys())}"
        assert seen.keys() <= allowed.keys(), f"never begun: {sorted(seen.keys() - allowed.keys())}"
        for video_id, (data, times) in seen.items():
            wanted = [rows_of(video_id, version) for version in allowed[video_id]]
            assert any(data == rows.tobytes() for rows in wanted), f"{video_id} is not what was stored"
            assert len(times) == len(data) // wanted[0][0].nbytes
        return set(seen)


def check_with_zarr(path: Path, video_ids: set[str], rng: np.random.Generator, count: int = 3) -> None:
    """Assert that Zarr's own reader gives the rows that ours does, for some of the videos."""
    import zarr

    from ophclip.cache import open_cache

    cache = open_cache(path)
    videos = zarr.open_group(str(path), mode="r")["videos"]
    for video_id in rng.permutation(sorted(video_ids))[:count]:
        array = videos[video_id.replace(" ", "%20")]  # type: ignore[index]
        np.testing.assert_array_equal(array[:], cache[video_id])  # type: ignore[index]
