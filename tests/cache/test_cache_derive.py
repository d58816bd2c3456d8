# SPDX-License-Identifier: Apache-2.0
"""Features made from stored frames are those that a build makes from the videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cache_children import finish, start
from cache_corpus import Statistics, build, check_visible, contents, frame_rows, tree, write_clip

from ophclip.cache import CacheInput, derive_cache, open_cache
from ophclip.cache.crash import CRASH_POINTS
from ophclip.cache.journal import read_commits, read_failures
from ophclip.errors import UsageError
from ophclip.video import Geometry


def derive(source: Path, out: Path, **options: Any) -> Any:
    frames = open_cache(source)
    return derive_cache(frames, options.pop("ids", frames.ids), out, **{"encoder": Statistics()} | options)


@pytest.mark.parametrize("batch_size", [1, 5, 32])
def test_derived_features_equal_those_built_from_the_videos(
    batch_size: int, built_frames: Path, built: Path, tmp_path: Path
) -> None:
    report = derive(built_frames, tmp_path / "c.zarr", batch_size=batch_size)
    assert (report.committed, report.num_frames) == (["v0", "v1", "v2", "v3"], 36)
    assert tree(tmp_path / "c.zarr") == tree(built)
    assert read_commits(tmp_path / "c.zarr") == read_commits(built)


def test_a_derived_cache_is_extended_by_a_build_and_the_other_way_round(
    clips: list[CacheInput], built_frames: Path, built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    derive(built_frames, path, ids=["v1"])
    assert build(clips[:3], path).skipped == ["v1"]
    assert derive(built_frames, path).committed == ["v3"]
    assert contents(path) == contents(built)


def test_what_is_derived_already_is_skipped(built_frames: Path, tmp_path: Path) -> None:
    derive(built_frames, tmp_path / "c.zarr", ids=["v1", "v2"])
    again = derive(built_frames, tmp_path / "c.zarr", ids=["v1", "v2", "v2"])
    assert (again.committed, again.skipped) == ([], ["v1", "v2", "v2"])


def test_frames_of_a_changed_video_are_encoded_anew(tmp_path: Path) -> None:
    item = CacheInput("v", write_clip(tmp_path / "v.mp4", 1))
    for seed in (1, 2):
        write_clip(item.path, seed)
        build([item], tmp_path / "frames.zarr", encoder=frame_rows())
        assert derive(tmp_path / "frames.zarr", tmp_path / "c.zarr").committed == ["v"]
    build([item], tmp_path / "direct.zarr")
    assert contents(tmp_path / "c.zarr") == contents(tmp_path / "direct.zarr")


def derive_child(source: Path, out: Path) -> None:
    derive(source, out)


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_killed_derivation_is_completed(
    point: str, built_frames: Path, built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    assert finish(start(derive_child, built_frames, path, crash_at=point)) == -9
    check_visible(path, contents(built))
    derive(built_frames, path)
    assert tree(path) == tree(built)


def metadata_gone(folder: Path) -> None:
    (folder / "zarr.json").unlink()


def rows_cut(folder: Path) -> None:
    chunk = folder / "c/0/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [metadata_gone, rows_cut])
@pytest.mark.parametrize("derived_before", [True, False])
def test_damaged_frames_of_one_video_do_not_stop_the_others(
    damage: Callable[[Path], None], derived_before: bool, clips: list[CacheInput], tmp_path: Path
) -> None:
    source, path = tmp_path / "frames.zarr", tmp_path / "c.zarr"
    build(clips[:3], source, encoder=frame_rows())
    if derived_before:
        derive(source, path, ids=["v0"])
    damage(source / "videos" / "v1")
    report = derive(source, path)
    assert list(report.failed) == list(read_failures(path)) == ["v1"]
    assert open_cache(path).ids == ["v0", "v2"]
    build(clips[:3], source, encoder=frame_rows())
    assert derive(source, path).committed == ["v1"]


def test_features_are_no_frames_to_derive_from(built: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must hold frames, got the rows of 'statistics'; build one with"):
        derive(built, tmp_path / "c.zarr")
    assert not (tmp_path / "c.zarr").exists()


def test_frames_of_another_size_are_refused(built_frames: Path, tmp_path: Path) -> None:
    encoder = Statistics()
    encoder.geometry = Geometry(32, 32, "crop")
    with pytest.raises(UsageError, match="the frames must be crop 32x32, got crop 16x16; build"):
        derive(built_frames, tmp_path / "c.zarr", encoder=encoder)


def test_a_cache_of_another_encoder_is_not_extended(built_frames: Path, tmp_path: Path) -> None:
    derive(built_frames, tmp_path / "c.zarr", ids=["v0"])
    with pytest.raises(UsageError, match=r"key = \{'weights': 'one'\}, this run has \{'weights': 'two'\}"):
        derive(built_frames, tmp_path / "c.zarr", encoder=Statistics("two"))


def test_a_video_without_frames_is_a_usage_error(built_frames: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no video 'v9'; choose one of: v0, v1, v2, v3"):
        derive(built_frames, tmp_path / "c.zarr", ids=["v0", "v9"])
