# SPDX-License-Identifier: Apache-2.0
"""Several writers at once give what one gives; a changed source replaces its video."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cache_children import build_child, finish, start
from cache_corpus import (
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

from ophclip.cache import CacheInput, open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.journal import JournalWriter
from ophclip.errors import UsageError

NUM_VIDEOS = 20


def wait_for(start_at: Path) -> None:
    while not start_at.exists():
        time.sleep(0.001)


def build_when_told(start_at: Path, inputs: Sequence[CacheInput], out: Path) -> None:
    wait_for(start_at)
    build_child(inputs, out)


def store_when_told(start_at: Path, out: Path, source: bytes) -> None:
    wait_for(start_at)
    with CacheWriter(out, provenance()) as writer:
        for number in range(NUM_VIDEOS):
            if not writer.is_stored(f"v{number}"):  # as a build asks
                store(writer, f"v{number}", random_rows(number, 3), source)


def run_together(target: Any, start_at: Path, arguments: Sequence[tuple[Any, ...]]) -> list[int]:
    processes = [start(target, start_at, *each) for each in arguments]
    time.sleep(0.3)  # so that all of them wait
    start_at.touch()
    return [finish(process) for process in processes]


def test_two_builds_of_the_same_inputs_at_once_equal_one(
    clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    assert run_together(build_when_told, tmp_path / "go", [(clips, path), (clips, path)]) == [0, 0]
    assert contents(path) == contents(built)
    assert tree(path) == tree(built)


def test_two_builds_of_different_inputs_at_once_equal_one(
    clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    assert run_together(build_when_told, tmp_path / "go", [(clips[:2], path), (clips[2:], path)]) == [0, 0]
    assert contents(path) == contents(built)
    assert tree(path) == tree(built)


def test_writers_that_race_for_every_video_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / "c.zarr"
    assert run_together(store_when_told, tmp_path / "go", [(path, b"source")] * 4) == [0, 0, 0, 0]
    right = write_cache(tmp_path / "r.zarr", {f"v{n}": random_rows(n, 3) for n in range(NUM_VIDEOS)})
    assert contents(path) == contents(right)
    assert tree(path) == tree(right)


def store_one(path: Path) -> None:
    write_cache(path, {"b": random_rows(2, 3)})


def test_a_writer_waits_while_another_puts_a_video_into_place(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 3)})
    holder = JournalWriter(path)
    with holder.alone():
        waiting = start(store_one, path)
        while not any((path / "videos").glob(".tmp-b@*/zarr.json")):
            assert waiting.is_alive()
            time.sleep(0.005)
        waiting.join(0.3)
        assert waiting.is_alive()
        assert not (path / "videos" / "b").exists()
    assert finish(waiting) == 0
    holder.close()
    assert open_cache(path).ids == ["a", "b"]


def test_a_reader_sees_whole_videos_only_while_writers_race(tmp_path: Path) -> None:
    right = contents(
        write_cache(tmp_path / "r.zarr", {f"v{n}": random_rows(n, 3) for n in range(NUM_VIDEOS)})
    )
    path = write_cache(tmp_path / "c.zarr", {})
    processes = [start(store_when_told, tmp_path / "go", path, b"source") for _ in range(2)]
    (tmp_path / "go").touch()
    sizes = [0]
    while any(process.is_alive() for process in processes):
        sizes.append(len(check_visible(path, right)))
    assert [finish(process) for process in processes] == [0, 0]
    assert sizes == sorted(sizes), "a committed video vanished"
    assert contents(path) == right


def test_a_video_that_another_writer_stored_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "c.zarr"
    with CacheWriter(path, provenance()) as first, CacheWriter(path, provenance()) as second:
        store(first, "a", random_rows(1, 3))
        inode = (path / "videos" / "a" / "c" / "0" / "0").stat().st_ino
        store(second, "a", random_rows(1, 3))
        assert (path / "videos" / "a" / "c" / "0" / "0").stat().st_ino == inode
        store(second, "a", random_rows(1, 3))  # asked for again, knowing of it: it is replaced
        assert (path / "videos" / "a" / "c" / "0" / "0").stat().st_ino != inode
    assert open_cache(path).ids == ["a"]


def test_a_damaged_video_of_another_writer_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "c.zarr"
    with CacheWriter(path, provenance()) as first, CacheWriter(path, provenance()) as second:
        store(first, "a", random_rows(1, 3))
        (path / "videos" / "a" / "zarr.json").unlink()
        store(second, "a", random_rows(1, 3))
    assert check_visible(path, contents(write_cache(tmp_path / "r.zarr", {"a": random_rows(1, 3)}))) == {"a"}


def test_a_changed_source_file_is_stored_anew(clips: list[CacheInput], built: Path, tmp_path: Path) -> None:
    source, path = tmp_path / "v.mp4", tmp_path / "c.zarr"
    inputs = [*clips[:1], CacheInput("v", write_clip(source, 1))]
    build(inputs, path)
    before = contents(path)
    reader = open_cache(path)
    mapped = reader["v"]
    old_rows = mapped.tobytes()
    write_clip(source, 2, seconds=5)
    report = build(inputs, path)
    assert (report.committed, report.skipped) == (["v"], ["v0"])
    after = contents(path)
    assert after["v"] != before["v"]
    assert after["v0"] == before["v0"]
    assert mapped.tobytes() == old_rows, "what a reader has mapped stays as it was"
    reader.refresh()
    assert reader["v"].tobytes() == after["v"][0]
    assert reader.num_frames("v") == len(reader.times("v")) == 10


def test_a_touched_source_file_is_not_stored_again(tmp_path: Path) -> None:
    inputs = [CacheInput("v", write_clip(tmp_path / "v.mp4", 1))]
    build(inputs, tmp_path / "c.zarr")
    os.utime(inputs[0].path, (1, 1))
    assert build(inputs, tmp_path / "c.zarr").skipped == ["v"]


def test_the_same_build_again_changes_no_file(clips: list[CacheInput], tmp_path: Path) -> None:
    path = tmp_path / "c.zarr"
    first = build(clips, path)
    assert (first.committed, first.num_frames) == (["v0", "v1", "v2", "v3"], 36)
    before = {entry: (entry.stat().st_ino, entry.stat().st_mtime_ns) for entry in files(path)}
    again = build(clips, path)
    assert (again.committed, again.skipped, again.num_frames) == ([], ["v0", "v1", "v2", "v3"], 0)
    assert {entry: (entry.stat().st_ino, entry.stat().st_mtime_ns) for entry in files(path)} == before


def files(path: Path) -> list[Path]:
    return sorted(entry for entry in path.rglob("*") if entry.is_file())


@pytest.mark.parametrize("what", ["rows cut", "rows gone", "metadata gone", "folder gone"])
def test_the_same_build_again_mends_what_is_missing(
    what: str, clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    build(clips, path)
    folder = path / "videos" / "v2"
    chunk = folder / "c" / "0" / "0"
    if what == "rows cut":
        chunk.write_bytes(chunk.read_bytes()[:-2])
    elif what == "rows gone":
        chunk.unlink()
    elif what == "metadata gone":
        (folder / "zarr.json").unlink()
    else:
        folder.rename(tmp_path / "elsewhere")
    report = build(clips, path)
    assert report.committed == ["v2"]
    assert tree(path) == tree(built)
    assert contents(path) == contents(built)


@pytest.mark.parametrize(
    ("key", "other", "remedy"),
    [
        ("encoder", "resnet", "--encoder or --stream"),
        ("key", {"weights": "two"}, "encoder"),
        ("fps", 2.0, "--fps"),
        ("geometry", "32x32 crop", "--size or encoder"),
        ("decoder", "dali", "--decoder"),
        ("row_shape", [7], "encoder"),
        ("dtype", "uint8", "encoder"),
    ],
)
def test_another_provenance_is_refused_naming_the_key_and_both_values(
    key: str, other: object, remedy: str, tmp_path: Path
) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 3)})
    wanted = provenance() | {key: other}
    with pytest.raises(UsageError) as caught:
        CacheWriter(path, wanted)
    assert f"built with {key} = {provenance()[key]!r}, this run has {other!r}" in caught.value.message
    assert caught.value.remedy == f"pass the same {remedy}, or another --out"
    assert open_cache(path).ids == ["a"]


def test_of_several_differences_the_one_that_was_chosen_is_named(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 3)})
    with pytest.raises(UsageError, match="built with encoder = 'statistics', this run has 'frames'"):
        CacheWriter(path, provenance() | {"dtype": "uint8", "row_shape": [7], "encoder": "frames"})


def test_other_versions_are_taken(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 3)})
    with CacheWriter(path, provenance() | {"versions": {"ophclip": "99", "decoder": "99"}}) as writer:
        assert writer.is_stored("a")
    assert open_cache(path).provenance["versions"]["ophclip"] == "0"
