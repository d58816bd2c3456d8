# SPDX-License-Identifier: Apache-2.0
"""Small real videos, encoders whose rows can be worked out, and a checker of what a reader sees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ophclip.cache import CacheInput, FeatureCache, FrameRows, build_cache, open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.layout import VideoAttributes
from ophclip.video import Geometry, write_video

FPS = 4
DIM = 6
GEOMETRY = Geometry(16, 16, "crop")


class Statistics:
    """Mean and deviation of each colour of a frame, float16 [6]: rows that do not depend on the batch."""

    name = "statistics"
    row_shape = (DIM,)
    dtype: Literal["float16"] = "float16"
    geometry = GEOMETRY

    def __init__(self, weights: str = "one") -> None:
        self.key = {"weights": weights}

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        pixels = frames.astype(np.float64)
        rows = np.concatenate([pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2))], axis=1)
        return rows.astype(np.float16)


def frame_rows() -> FrameRows:
    return FrameRows(GEOMETRY)


def draw(seed: int, num_frames: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    for _ in range(num_frames):
        yield np.broadcast_to(rng.integers(0, 256, (1, 1, 3), dtype=np.uint8), (32, 32, 3))


def write_clip(path: Path, seed: int, seconds: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, draw(seed, seconds * FPS), FPS)
    return path


def build(inputs: Sequence[CacheInput], out: Path, **options: Any) -> Any:
    return build_cache(inputs, out, **{"encoder": Statistics(), "fps": 2} | options)


def provenance(row_shape: tuple[int, ...] = (DIM,), dtype: str = "float16") -> dict[str, Any]:
    """Of a cache that is written without videos."""
    return {
        "encoder": "statistics",
        "key": {"weights": "one"},
        "row_shape": list(row_shape),
        "dtype": dtype,
        "geometry": "16x16 crop",
        "fps": 1.0,
        "decoder": "none",
        "versions": {"ophclip": "0", "decoder": "0"},
    }


def attributes(video_id: str, num_rows: int, source: bytes = b"source") -> VideoAttributes:
    return {
        "video_id": video_id,
        "source_name": "source.mp4",
        "source_size": len(source),
        "source_sha256": hashlib.sha256(source).hexdigest(),
        "data_sha256": "",
        "decoder": "none",
        "time_base": str(Fraction(1, 1000)),
        "start": "0",
        "pts": [1000 * row for row in range(num_rows)],
        "frame_times_s": [float(row) for row in range(num_rows)],
    }


def store(writer: CacheWriter, video_id: str, rows: NDArray[Any], source: bytes = b"source") -> None:
    beside = attributes(video_id, len(rows), source)
    writer.store(video_id, iter([rows]), beside, source_path=f"/videos/{video_id}.mp4", source_mtime_ns=7)


def random_rows(seed: int, num_rows: int, row_shape: tuple[int, ...] = (DIM,)) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(size=(num_rows, *row_shape)).astype(np.float16)


def write_cache(path: Path, videos: dict[str, NDArray[Any]]) -> Path:
    """Write a cache of the rows given, without videos."""
    with CacheWriter(path, provenance()) as writer:
        for video_id, rows in videos.items():
            store(writer, video_id, rows)
    return path


def tree(path: Path) -> dict[str, bytes]:
    """Every file of a cache but its journal, by relative path."""
    files = [entry for entry in sorted(path.rglob("*")) if entry.is_file()]
    named = {entry.relative_to(path).as_posix(): entry for entry in files}
    return {name: entry.read_bytes() for name, entry in named.items() if not name.startswith("_journal/")}


def contents(path: Path) -> dict[str, tuple[bytes, tuple[float, ...]]]:
    """The rows and times of each video that a reader sees."""
    cache = open_cache(path)
    return {video_id: (cache[video_id].tobytes(), tuple(cache.times(video_id))) for video_id in cache}


def check_visible(path: Path, *allowed: dict[str, tuple[bytes, tuple[float, ...]]]) -> set[str]:
    """Assert that every video a reader sees is whole and as one of `allowed` has it; return the ids seen."""
    seen = contents(path)
    cache = open_cache(path)
    for video_id, content in seen.items():
        assert any(content == one.get(video_id) for one in allowed), f"{video_id} is not what was stored"
        checksum = hashlib.sha256(content[0]).hexdigest()
        assert cache.attributes(video_id)["data_sha256"] == checksum, f"{video_id}: metadata of other rows"
    return set(seen)


def assert_same_values(packed: FeatureCache, cache: FeatureCache) -> None:
    """Assert that a packed cache gives what the one does that it was packed from."""
    assert packed.ids == cache.ids
    assert packed.provenance == cache.provenance
    assert (packed.row_shape, packed.dtype) == (cache.row_shape, cache.dtype)
    for video_id in cache:
        rows = packed[video_id]
        assert (rows.dtype, rows.shape) == (cache[video_id].dtype, cache[video_id].shape)
        assert rows.tobytes() == cache[video_id].tobytes()
        assert packed.times(video_id).tolist() == cache.times(video_id).tolist()
        assert packed.attributes(video_id) == cache.attributes(video_id)
        assert packed.source_path(video_id) == cache.source_path(video_id)
        assert packed.source_mtime_ns(video_id) == cache.source_mtime_ns(video_id)
        assert packed.num_frames(video_id) == cache.num_frames(video_id)
