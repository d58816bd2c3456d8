# SPDX-License-Identifier: Apache-2.0
"""A repair gives back the bytes that were committed, and touches nothing that is whole."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cache_children import finish, start
from cache_corpus import Statistics, build, frame_rows, tree, write_clip
from cache_encoders import make_statistics

from ophclip.cache import CacheInput, open_cache
from ophclip.cache.content import content_hash
from ophclip.cache.crash import CRASH_POINTS, REPLACEMENT_POINTS
from ophclip.cache.repair import repair_cache
from ophclip.cache.verify import verify_cache
from ophclip.errors import UsageError


@pytest.fixture
def inputs(tmp_path: Path) -> list[CacheInput]:
    return [CacheInput(f"v{n}", write_clip(tmp_path / f"v{n}.mp4", n)) for n in range(4)]


@pytest.fixture
def path(inputs: list[CacheInput], tmp_path: Path) -> Path:
    build(inputs, tmp_path / "c.zarr")
    return tmp_path / "c.zarr"


def rows_of(path: Path, video_id: str) -> Path:
    return next(file for file in (path / "videos" / video_id / "c").rglob("0") if file.is_file())


def journals(path: Path) -> list[Path]:
    return sorted((path / "_journal").glob("commits-*.jsonl"))


def states(path: Path, video_ids: list[str]) -> list[tuple[int, int]]:
    """Inode and date of all files of some videos."""
    files = [file for name in video_ids for file in sorted((path / "videos" / name).rglob("*"))]
    return [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]


def damage_some(path: Path) -> None:
    """Cut rows, flip a bit, delete metadata: of v0, v1 and v2."""
    rows_of(path, "v0").write_bytes(rows_of(path, "v0").read_bytes()[:-3])
    flipped = bytearray(rows_of(path, "v1").read_bytes())
    flipped[7] ^= 4
    rows_of(path, "v1").write_bytes(flipped)
    (path / "videos" / "v2" / "zarr.json").unlink()


def test_what_is_damaged_is_extracted_anew_and_the_rest_untouched(path: Path) -> None:
    sound, untouched, expected = tree(path), states(path, ["v3"]), content_hash(open_cache(path))
    damage_some(path)
    report = repair_cache(path, encoder=Statistics)
    assert (report.repaired, report.differing, report.failed) == (["v0", "v1", "v2"], [], {})
    assert tree(path) == sound
    assert states(path, ["v3"]) == untouched
    again = verify_cache(path)
    assert (again.findings, again.notes, again.content_hash) == ([], [], expected)


@pytest.mark.parametrize("stream", ["features", "frames"])
def test_workers_extract_anew_what_one_process_does(
    stream: str, inputs: list[CacheInput], path: Path, tmp_path: Path
) -> None:
    if stream == "frames":
        path = tmp_path / "frames.zarr"
        build(inputs, path, encoder=frame_rows())
    sound = tree(path)
    damage_some(path)
    encoder = (lambda: None) if stream == "frames" else Statistics
    report = repair_cache(path, encoder=encoder, workers=2, make_encoder=make_statistics)
    assert (report.repaired, report.failed) == (["v0", "v1", "v2"], {})
    assert tree(path) == sound


def test_a_whole_cache_is_left_as_it_is(path: Path) -> None:
    before, untouched = tree(path), states(path, ["v0", "v1", "v2", "v3"])

    def no_encoder() -> Statistics:
        raise AssertionError("loaded for nothing")

    assert repair_cache(path, encoder=no_encoder).as_dict() == {
        "repaired": [],
        "differing": [],
        "adopted": [],
        "mended": [],
        "removed": [],
        "failed": {},
    }
    assert (tree(path), states(path, ["v0", "v1", "v2", "v3"])) == (before, untouched)
    assert len(journals(path)) == 1


def test_swapped_videos_are_given_back(path: Path) -> None:
    sound, folders = tree(path), path / "videos"
    for name, other in (("v0", "aside"), ("v1", "v0"), ("aside", "v1")):
        (folders / name).rename(folders / other)
    assert repair_cache(path, encoder=Statistics).repaired == ["v0", "v1"]
    assert tree(path) == sound


def test_a_cache_of_frames_needs_no_encoder(inputs: list[CacheInput], tmp_path: Path) -> None:
    path = tmp_path / "frames.zarr"
    build(inputs, path, encoder=frame_rows())
    sound = tree(path)
    shutil.rmtree(path / "videos" / "v1")
    assert repair_cache(path).repaired == ["v1"]
    assert tree(path) == sound


def test_only_the_videos_asked_for_are_mended(path: Path) -> None:
    damage_some(path)
    assert repair_cache(path, ["v1", "v3"], encoder=Statistics).repaired == ["v1"]
    assert verify_cache(path).damaged == ["v0", "v2"]


def test_a_video_file_that_is_gone_or_changed_is_named_and_the_others_are_mended(
    path: Path, inputs: list[CacheInput]
) -> None:
    damage_some(path)
    inputs[0].path.unlink()
    write_clip(inputs[1].path, 9)
    cut = rows_of(path, "v0").read_bytes()
    report = repair_cache(path, encoder=Statistics)
    assert report.repaired == ["v2"]
    assert report.failed == {
        "v0": f"its video file {inputs[0].path} is gone: put it back",
        "v1": f"its video file {inputs[1].path} has changed: cache build stores it anew",
    }
    assert rows_of(path, "v0").read_bytes() == cut
    assert verify_cache(path).damaged == ["v0", "v1"]


def test_another_encoder_is_refused_before_anything_is_removed(path: Path) -> None:
    damage_some(path)
    before = tree(path)
    with pytest.raises(UsageError, match="was built with key"):
        repair_cache(path, encoder=lambda: Statistics("two"))
    with pytest.raises(UsageError, match="holds the rows of the encoder 'statistics'"):
        repair_cache(path)
    assert tree(path) == before


def repair_child(path: Path) -> None:
    repair_cache(path, encoder=Statistics)


@pytest.mark.parametrize("point", [*CRASH_POINTS, *REPLACEMENT_POINTS])
def test_a_repair_that_is_killed_goes_on_when_run_again(point: str, path: Path) -> None:
    sound = tree(path)
    damage_some(path)
    assert finish(start(repair_child, path, crash_at=point)) == -signal.SIGKILL
    lost = {"v0", "v1", "v2", "v3"} - {*open_cache(path).ids}
    assert (lost == {"v0"}) == any("v0 is not in the cache" in note for note in verify_cache(path).notes)
    assert repair_cache(path, encoder=Statistics).failed == {}
    assert tree(path) == sound
    assert verify_cache(path).findings == []


def test_the_group_of_videos_is_written_again(path: Path) -> None:
    sound = tree(path)
    (path / "videos" / "zarr.json").write_text("{")
    assert repair_cache(path).mended == ["videos/zarr.json"]
    assert tree(path) == sound


def test_a_root_that_is_damaged_is_named_and_nothing_is_removed(path: Path) -> None:
    damage_some(path)
    (path / "zarr.json").write_text("{")
    before = tree(path)
    report = repair_cache(path, encoder=Statistics)
    assert "restore it from a copy" in report.failed["zarr.json"]
    assert tree(path) == before


def cut_the_file(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:300])


def overwrite_a_block(journal: Path) -> None:
    data = bytearray(journal.read_bytes())
    data[200:900] = os.urandom(700)
    journal.write_bytes(data)


def lose_the_last_line_break(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [overwrite_a_block, cut_the_file, lose_the_last_line_break, Path.unlink])
def test_whole_videos_whose_journal_lines_are_lost_are_entered_again(
    damage: Callable[[Path], None], path: Path, inputs: list[CacheInput]
) -> None:
    sound, untouched = tree(path), states(path, ["v0", "v1", "v2", "v3"])
    expected = content_hash(open_cache(path))
    (journal,) = journals(path)
    damage(journal)
    assert verify_cache(path).findings
    report = repair_cache(path)
    assert report.failed == {}
    assert content_hash(open_cache(path)) == expected
    assert verify_cache(path).findings == []
    assert (tree(path), states(path, ["v0", "v1", "v2", "v3"])) == (sound, untouched)
    assert build(inputs, path).skipped == ["v0", "v1", "v2", "v3"]


def test_a_changed_line_keeps_the_path_that_it_names(path: Path, inputs: list[CacheInput]) -> None:
    (journal,) = journals(path)
    before = journal.read_bytes()
    journal.write_bytes(before.replace(b'"source_size"', b'"source_sise"', 1))
    report = repair_cache(path)
    assert (report.adopted, report.mended) == (["v0"], [f"_journal/{journal.name}"])
    assert open_cache(path).source_path("v0") == inputs[0].path
    kept = journal.with_name(f"damaged-{journal.name}")
    assert kept.read_bytes() == before.replace(b'"source_size"', b'"source_sise"', 1)


def test_damaged_videos_whose_line_is_lost_are_not_entered(path: Path, inputs: list[CacheInput]) -> None:
    sound = tree(path)
    damage_some(path)
    journals(path)[0].unlink()
    assert repair_cache(path).adopted == ["v3"]
    assert open_cache(path).ids == ["v3"]
    build(inputs, path)
    assert tree(path) == sound
