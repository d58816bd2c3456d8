# SPDX-License-Identifier: Apache-2.0
"""The content hash is equal where rows, times and provenance are, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cache_corpus import (
    attributes,
    provenance,
    random_rows,
    write_cache,
)

from ophclip.cache import open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.content import content_hash

VIDEOS = {"a": random_rows(1, 3), "b": random_rows(2, 3), "c": random_rows(3, 5)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_cache(tmp_path / "c.zarr", VIDEOS)


def test_the_content_hash_is_of_rows_times_and_provenance_alone(path: Path, tmp_path: Path) -> None:
    expected = content_hash(open_cache(path))
    other = tmp_path / "moved" / "other.zarr"
    later = provenance() | {"versions": {"ophclip": "9", "decoder": "9"}}
    for video_id in ("c", "a", "b"):  # another order, a journal each, another source path and date
        with CacheWriter(other, later) as writer:
            beside = attributes(video_id, len(VIDEOS[video_id]))
            writer.store(video_id, [VIDEOS[video_id]], beside, source_path="/elsewhere", source_mtime_ns=1)
    assert content_hash(open_cache(other)) == expected
    assert len(list((other / "_journal").glob("commits-*"))) == 3


@pytest.mark.parametrize("what", ["rows", "times", "id", "fps", "fewer"])
def test_the_content_hash_differs_where_the_content_does(what: str, path: Path, tmp_path: Path) -> None:
    videos = dict(VIDEOS)
    key = provenance() | ({"fps": 2.0} if what == "fps" else {})
    if what == "rows":
        videos["b"] = VIDEOS["b"] + np.float16(0.5)
    if what == "id":
        videos["B"] = videos.pop("b")
    if what == "fewer":
        videos.pop("c")
    with CacheWriter(tmp_path / "other.zarr", key) as writer:
        for video_id, rows in videos.items():
            beside = attributes(video_id, len(rows))
            if what == "times":
                beside["pts"], beside["frame_times_s"] = [7 for _ in rows], [0.007 for _ in rows]
            writer.store(video_id, [rows], beside, source_path="/", source_mtime_ns=1)
    assert content_hash(open_cache(tmp_path / "other.zarr")) != content_hash(open_cache(path))
