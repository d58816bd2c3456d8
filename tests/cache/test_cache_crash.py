# SPDX-License-Identifier: Apache-2.0
"""A process killed anywhere leaves whole videos or none, and the next build completes to the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_children import build_child, finish, start
from cache_corpus import (
    DIM,
    attributes,
    build,
    check_visible,
    contents,
    provenance,
    random_rows,
    store,
    tree,
    write_cache,
    write_clip,
)
from numpy.typing import NDArray

from ophclip.cache import CacheInput, open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.crash import CRASH_POINTS, REPLACEMENT_POINTS, crash_point
from ophclip.cache.journal import Commit, JournalWriter
from ophclip.cache.layout import array_metadata, chunk_path
from ophclip.errors import DamageError


def temporary_folders(path: Path) -> list[Path]:
    return list((path / "videos").glob(".tmp-*"))


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_build_killed_at_a_crash_point_shows_whole_videos_only_and_is_completed(
    point: str, clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    build(clips[:1], path)
    assert finish(start(build_child, clips, path, crash_at=point)) == -signal.SIGKILL
    seen = check_visible(path, contents(built))
    assert seen == ({"v0", "v1"} if point == "after-journal" else {"v0"})
    report = build(clips, path)
    assert set(report.skipped) == seen
    assert tree(path) == tree(built)
    assert contents(path) == contents(built)


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_the_very_first_build_killed_at_a_crash_point_is_completed(
    point: str, clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    assert finish(start(build_child, clips, path, crash_at=point)) == -signal.SIGKILL
    assert check_visible(path, contents(built)) == ({"v0"} if point == "after-journal" else set())
    build(clips, path)
    assert tree(path) == tree(built)


@pytest.mark.parametrize("point", [*CRASH_POINTS, *REPLACEMENT_POINTS])
def test_a_replacement_killed_at_a_crash_point_shows_the_old_video_the_new_one_or_none(
    point: str, tmp_path: Path
) -> None:
    source, path = tmp_path / "v.mp4", tmp_path / "c.zarr"
    inputs = [CacheInput("v", write_clip(source, 1))]
    build(inputs, path)
    old = contents(path)
    write_clip(source, 2)
    build(inputs, tmp_path / "new.zarr")
    new = contents(tmp_path / "new.zarr")
    assert finish(start(build_child, inputs, path, crash_at=point)) == -signal.SIGKILL
    # Only the journal's word counts: until the old line is revoked the old rows are there, after it none.
    hidden = point in (*REPLACEMENT_POINTS, "after-rename", "before-journal")
    assert check_visible(path, old, new) == (set() if hidden else {"v"})
    build(inputs, path)
    assert contents(path) == new
    assert tree(path) == tree(tmp_path / "new.zarr")
    assert temporary_folders(path) == []


def kill_after(delay_s: float, inputs: list[CacheInput], path: Path) -> None:
    process = start(build_child, inputs, path)
    time.sleep(delay_s)
    process.kill()
    finish(process)


def check_random_kills(count: int, clips: list[CacheInput], built: Path, tmp_path: Path) -> None:
    rng, expected = np.random.default_rng(5), contents(built)
    path, seen = tmp_path / "c.zarr", set[str]()
    for _ in range(count):
        kill_after(rng.uniform(0.02, 0.25), clips, path)
        if (path / "zarr.json").exists():
            now_seen = check_visible(path, expected)
            assert seen <= now_seen, "a committed video is gone"
            seen = now_seen
        if len(seen) == len(clips):
            shutil.rmtree(path)
            seen = set()
    build(clips, path)
    assert tree(path) == tree(built)
    assert temporary_folders(path) == []


def test_builds_killed_at_random_times_lose_nothing(
    clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    check_random_kills(5, clips, built, tmp_path)


@pytest.mark.slow
def test_forty_builds_killed_at_random_times_lose_nothing(
    clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    check_random_kills(40, clips, built, tmp_path)


def journal_before_data(path: Path) -> None:
    """The wrong order: the journal line first, the rows, cut short by the kill, after it."""
    journal, folder, rows = JournalWriter(path), path / "videos" / "b", random_rows(2, 4)
    beside = attributes("b", 4)
    journal.commit(Commit("b", "b", rows.shape, "/b", 6, 7, beside["source_sha256"]))
    chunk = chunk_path(folder, 2)
    chunk.parent.mkdir(parents=True)
    (folder / "zarr.json").write_bytes(array_metadata(rows.shape, "float16", beside))
    chunk.write_bytes(rows[:2].tobytes())
    crash_point("mid-data")


def metadata_before_data(path: Path) -> None:
    """What a plain Zarr writer leaves: an array of the right size that is all zero."""
    journal, folder = JournalWriter(path), path / "videos" / "b"
    beside = attributes("b", 4)
    chunk = chunk_path(folder, 2)
    chunk.parent.mkdir(parents=True)
    with chunk.open("wb") as file:
        file.truncate(4 * DIM * 2)
    (folder / "zarr.json").write_bytes(array_metadata((4, DIM), "float16", beside))
    journal.commit(Commit("b", "b", (4, DIM), "/b", 6, 7, beside["source_sha256"]))
    crash_point("mid-data")


def test_the_check_catches_a_journal_line_before_the_rows(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 3)})
    assert finish(start(journal_before_data, path, crash_at="mid-data")) == -signal.SIGKILL
    with pytest.raises(DamageError, match=r"'b': .* has 24 bytes, 48 were committed"):
        check_visible(path, contents(write_cache(tmp_path / "right.zarr", {"b": random_rows(2, 4)})))


def test_the_check_catches_rows_that_were_never_written(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 3)})
    right = write_cache(tmp_path / "right.zarr", {"a": random_rows(1, 3), "b": random_rows(2, 4)})
    assert finish(start(metadata_before_data, path, crash_at="mid-data")) == -signal.SIGKILL
    with pytest.raises(AssertionError, match="b is not what was stored"):
        check_visible(path, contents(right))


def test_a_crash_point_that_is_not_named_lets_pass(
    clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    assert finish(start(build_child, clips, tmp_path / "c.zarr", crash_at="elsewhere")) == 0
    assert tree(tmp_path / "c.zarr") == tree(built)


def hold_open(path: Path, ready: str) -> None:
    writer = CacheWriter(path, provenance())

    def endless() -> Iterator[NDArray[Any]]:
        while True:
            yield random_rows(0, 1)
            Path(ready).touch()
            time.sleep(0.05)

    writer.store("live", endless(), attributes("live", 9), source_path="/", source_mtime_ns=0)


def test_folders_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 3)})
    ready = tmp_path / "ready"
    living = start(hold_open, path, str(ready))
    while not ready.exists():
        assert living.is_alive()
        time.sleep(0.01)
    dead = path / "videos" / ".tmp-x@host-1-abcdef01@0123"
    for folder in (dead, dead.with_name(f"{dead.name}.old"), path / "videos" / ".tmp-unknown"):
        folder.mkdir()
    with CacheWriter(path, provenance()) as writer:
        (left,) = temporary_folders(path)
        assert left.name.startswith(".tmp-live@")
        store(writer, "b", random_rows(2, 3))
    living.kill()
    finish(living)
    assert temporary_folders(path) == [left]
    CacheWriter(path, provenance()).close()
    assert temporary_folders(path) == []
    assert open_cache(path).ids == ["a", "b"]


def test_everything_is_on_disk_before_the_journal_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no kill can show and a power cut would: the order of the real syncs and the rename."""
    path = write_cache(tmp_path / "c.zarr", {})
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note(action: str, name: str) -> None:
        parts = ("TMP" if part.startswith(".tmp-") else part for part in Path(name).relative_to(path).parts)
        steps.append(f"{action} {'/'.join(parts)}")

    def noted_fsync(descriptor: int) -> None:
        note("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        note("rename", str(target))
        rename(source, target)

    with CacheWriter(path, provenance()) as writer:
        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(os, "rename", noted_rename)
        store(writer, "a", random_rows(1, 3))
    folders = {"sync videos/TMP", "sync videos/TMP/c", "sync videos/TMP/c/0"}
    assert steps[:2] == ["sync videos/TMP/c/0/0", "sync videos/TMP/zarr.json"]
    assert set(steps[2:5]) == folders
    assert steps[5:7] == ["rename videos/a", "sync videos"]
    assert steps[7].startswith("sync _journal/commits-")
    assert len(steps) == 8


def test_a_new_cache_is_on_disk_before_its_first_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def noted_fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    path = tmp_path / "c.zarr"
    CacheWriter(path, provenance()).close()
    assert {path, path / "videos", path / "_journal", tmp_path} <= {*synced}
    assert sum(".zarr.json." in file.name for file in synced) == 2
