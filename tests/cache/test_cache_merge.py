# SPDX-License-Identifier: Apache-2.0
"""Merging caches: the videos of all, once, with the bytes of one build; conflicts are refused."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from cache_children import finish, start
from cache_corpus import (
    Statistics,
    build,
    check_visible,
    contents,
    random_rows,
    tree,
    write_cache,
    write_clip,
)

from ophclip.cache import CacheInput, Part, merge_caches, open_cache, pack_cache
from ophclip.cache.content import content_hash
from ophclip.cache.crash import CRASH_POINTS
from ophclip.cache.journal import read_failures
from ophclip.cli.main import main
from ophclip.errors import DamageError, UsageError


@pytest.fixture(scope="module")
def halves(clips: list[CacheInput], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The cache of `clips` in two, of which both hold the second video. Read only."""
    folder = tmp_path_factory.mktemp("halves")
    build(clips[:2], folder / "a.zarr")
    build(clips[1:], folder / "b.zarr")
    return [folder / "a.zarr", folder / "b.zarr"]


def test_two_caches_become_the_one_that_a_single_build_makes(
    halves: list[Path], built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.zarr"
    report = merge_caches(halves, out)
    assert (report.num_copied, report.num_skipped) == (4, 1)
    assert tree(out) == tree(built)
    assert content_hash(open_cache(out)) == content_hash(open_cache(built))
    again = merge_caches(halves, out)
    assert (again.num_copied, again.num_skipped) == (0, 5)


def test_a_build_goes_on_in_a_merged_cache(
    halves: list[Path], clips: list[CacheInput], tmp_path: Path
) -> None:
    merge_caches(halves[:1], tmp_path / "c.zarr")
    report = build(clips, tmp_path / "c.zarr")
    assert (report.skipped, report.committed) == (["v0", "v1"], ["v2", "v3"])


def test_parts_built_apart_are_merged(clips: list[CacheInput], built: Path, tmp_path: Path) -> None:
    parts = [tmp_path / f"{number}.zarr" for number in (1, 2)]
    for number, path in enumerate(parts, start=1):
        build(Part(number, 2).of(clips), path)
    merge_caches(parts, tmp_path / "c.zarr")
    assert tree(tmp_path / "c.zarr") == tree(built)


def test_one_cache_is_merged_into_another(halves: list[Path], built: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    merge_caches(halves[:1], out)
    report = merge_caches([out, halves[1]], out)
    assert (report.num_copied, report.num_skipped) == (2, 1)
    assert tree(out) == tree(built)


def test_a_packed_cache_is_merged(halves: list[Path], built: Path, tmp_path: Path) -> None:
    pack_cache(open_cache(halves[1]), tmp_path / "p.zarr")
    merge_caches([halves[0], tmp_path / "p.zarr"], tmp_path / "c.zarr")
    assert tree(tmp_path / "c.zarr") == tree(built)


def test_nothing_is_merged_into_a_packed_cache(halves: list[Path], tmp_path: Path) -> None:
    pack_cache(open_cache(halves[1]), tmp_path / "p.zarr")
    before = tree(tmp_path / "p.zarr")
    with pytest.raises(UsageError, match="packed"):
        merge_caches(halves, tmp_path / "p.zarr")
    assert tree(tmp_path / "p.zarr") == before


def test_caches_that_were_built_differently_are_refused(
    halves: list[Path], clips: list[CacheInput], tmp_path: Path
) -> None:
    build(clips[:1], tmp_path / "other.zarr", encoder=Statistics("two"))
    with pytest.raises(UsageError, match="was built with key"):
        merge_caches([halves[0], tmp_path / "other.zarr"], tmp_path / "c.zarr")
    assert not (tmp_path / "c.zarr").exists()
    with pytest.raises(UsageError, match="was built with key"):
        merge_caches(halves, tmp_path / "other.zarr")
    assert open_cache(tmp_path / "other.zarr").ids == ["v0"]


def test_ids_with_different_rows_are_named_and_nothing_is_copied(tmp_path: Path) -> None:
    one = write_cache(tmp_path / "a.zarr", {"x": random_rows(1, 3), "y": random_rows(2, 3)})
    two = write_cache(tmp_path / "b.zarr", {"y": random_rows(3, 3), "z": random_rows(4, 3)})
    with pytest.raises(UsageError, match=r"1 ids have different rows in two caches: 'y'") as raised:
        merge_caches([one, two], tmp_path / "c.zarr")
    assert str(one) in raised.value.message
    assert str(two) in raised.value.message
    assert open_cache(tmp_path / "c.zarr").ids == []
    with pytest.raises(UsageError, match="'y'"):
        merge_caches([two], one)
    assert open_cache(one).ids == ["x", "y"]


def test_failures_are_carried_along_unless_the_video_is_stored(
    clips: list[CacheInput], tmp_path: Path
) -> None:
    bad = [CacheInput(name, tmp_path / f"{name}.mp4") for name in ("bad", "late")]
    for item in bad:
        item.path.write_bytes(b"no video")
    build([clips[0], *bad], tmp_path / "a.zarr")
    write_clip(bad[1].path, 9)
    build([bad[1]], tmp_path / "b.zarr")
    out = tmp_path / "c.zarr"
    assert merge_caches([tmp_path / "a.zarr", tmp_path / "b.zarr"], out).num_failures == 1
    assert list(read_failures(out)) == ["bad"]
    assert merge_caches([tmp_path / "a.zarr", tmp_path / "b.zarr"], out).num_failures == 0
    report = build([clips[0], *bad], out)
    assert (report.skipped, report.not_retried) == (["v0", "late"], ["bad"])


def test_damaged_rows_are_named_and_not_copied(halves: list[Path], tmp_path: Path) -> None:
    source = tmp_path / "a.zarr"
    merge_caches(halves[:1], source)
    rows = source / "videos" / "v1" / "c" / "0" / "0"
    rows.write_bytes(b"\1" + rows.read_bytes()[1:])
    with pytest.raises(DamageError, match="v1"):
        merge_caches([source], tmp_path / "c.zarr")
    assert open_cache(tmp_path / "c.zarr").ids == ["v0"]


def merge_child(sources: list[Path], out: Path) -> None:
    merge_caches(sources, out)


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_merge_killed_anywhere_shows_whole_videos_only_and_goes_on(
    point: str, halves: list[Path], built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.zarr"
    merge_caches(halves[:1], out)
    assert finish(start(merge_child, halves, out, crash_at=point)) == -signal.SIGKILL
    seen = check_visible(out, contents(built))
    assert seen == ({"v0", "v1", "v2"} if point == "after-journal" else {"v0", "v1"})
    merge_caches(halves, out)
    assert tree(out) == tree(built)


def test_the_command_merges_and_says_what_it_did(
    halves: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["cache", "merge", *map(str, halves), "--out", str(tmp_path / "c.zarr")]
    with pytest.raises(SystemExit) as done:
        main([*arguments, "--quiet"])
    assert done.value.code == 0
    assert "4 videos copied" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*arguments, "--json", "--quiet"])
    report = json.loads(capsys.readouterr().out)
    assert (report["num_copied"], report["num_skipped"]) == (0, 5)
    np.testing.assert_array_equal(open_cache(tmp_path / "c.zarr")["v3"], open_cache(halves[1])["v3"])
