# SPDX-License-Identifier: Apache-2.0
"""Whatever is flipped, cut, deleted or swapped in a cache is found and named, and nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_children import finish, start
from cache_corpus import (
    provenance,
    random_rows,
    store,
    write_cache,
)
from damage import edit, flip, found, journal_of, metadata_of, replace_by_folder, rows_of

from ophclip import console
from ophclip.cache import open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.content import content_hash
from ophclip.cache.root import digest
from ophclip.cache.verify import verify_cache
from ophclip.errors import UsageError

VIDEOS = {"a": random_rows(1, 3), "b": random_rows(2, 3), "c": random_rows(3, 5)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_cache(tmp_path / "c.zarr", VIDEOS)


def test_a_whole_cache_is_whole_and_its_content_hash_is_that_of_info(path: Path) -> None:
    report = verify_cache(path)
    assert (report.videos, report.num_bytes, report.findings, report.notes) == (3, 11 * 6 * 2, [], [])
    assert report.content_hash == content_hash(open_cache(path))


def test_a_built_cache_is_whole(built: Path, built_frames: Path) -> None:
    for cache in (built, built_frames):
        report = verify_cache(cache)
        assert (report.findings, report.notes, report.videos) == ([], [], 4)
        assert report.content_hash == content_hash(open_cache(cache))


def test_an_empty_cache_is_whole(tmp_path: Path) -> None:
    assert verify_cache(write_cache(tmp_path / "c.zarr", {})).findings == []


def test_every_single_flipped_bit_of_a_cache_is_found(tmp_path: Path) -> None:
    """One random bit of a byte in six of every file; all bytes were tried once, and found."""
    path = write_cache(tmp_path / "c.zarr", {"a": VIDEOS["a"], "b": VIDEOS["b"]})
    with CacheWriter(path, provenance()) as writer:
        writer.fail("d", "the file is empty")
    rng = np.random.default_rng(11)
    console.set_quiet(True)
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != "lock"]
    assert len(files) == 8
    missed = []
    for file in files:
        sound = file.read_bytes()
        for byte in range(int(rng.integers(6)), len(sound), 6):
            bit = 8 * byte + int(rng.integers(8))
            flip(file, bit)
            if not verify_cache(path, threads=1).findings:
                missed.append((file.name, byte, bit % 8))
            file.write_bytes(sound)
    console.set_quiet(False)
    assert missed == []
    assert verify_cache(path).findings == []


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: rows_of(path, "b").write_bytes(b"\0" * 36), "not those that were committed"),
        (
            lambda path: rows_of(path, "b").write_bytes(rows_of(path, "b").read_bytes()[:-1]),
            "has 35 bytes, 36",
        ),
        (lambda path: rows_of(path, "b").write_bytes(b""), "has 0 bytes, 36 were committed"),
        (lambda path: rows_of(path, "b").unlink(), "No such file or directory"),
        (lambda path: replace_by_folder(rows_of(path, "b")), "bytes, 36 were committed"),
    ],
)
def test_damaged_rows_are_named(damage: Callable[[Path], Any], says: str, path: Path) -> None:
    damage(path)
    report = verify_cache(path)
    assert found(report) == [("b", "rows")]
    assert says in report.findings[0].what
    assert str(rows_of(path, "b")) in report.findings[0].what
    assert report.content_hash == ""


def test_swapped_rows_are_named_with_the_video_that_they_are_of(path: Path) -> None:
    first, second = rows_of(path, "a"), rows_of(path, "b")
    first.rename(path / "aside")
    second.rename(first)
    (path / "aside").rename(second)
    report = verify_cache(path)
    assert found(report) == [("a", "rows"), ("b", "rows")]
    assert report.findings[0].what.endswith("but those of 'b'")
    assert report.findings[1].what.endswith("but those of 'a'")


def test_swapped_folders_and_swapped_metadata_are_named(path: Path, tmp_path: Path) -> None:
    folders = path / "videos"
    for name, other in (("a", "aside"), ("b", "a"), ("aside", "b")):
        (folders / name).rename(folders / other)
    assert found(verify_cache(path)) == [("a", "metadata"), ("b", "metadata")]
    again = write_cache(tmp_path / "again.zarr", VIDEOS)
    texts = [metadata_of(again, video_id).read_bytes() for video_id in ("a", "b")]
    metadata_of(again, "a").write_bytes(texts[1])
    metadata_of(again, "b").write_bytes(texts[0])
    report = verify_cache(again)
    assert {finding.item for finding in report.findings} == {"a", "b"}
    assert "video_id must be 'a', got 'b'" in report.findings[0].what


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (
            lambda a: a.update(pts=[0, 1001, 2000]),
            "times",
            "the time of row 1, 1.0 s, is not that of its pts 1001",
        ),
        (lambda a: a.update(frame_times_s=[0.0, 1.0, 3.0]), "times", "the time of row 2, 3.0 s"),
        (lambda a: a.update(frame_times_s=[0.0, 1.0]), "times", "3 rows, but 3 pts and 2 frame times"),
        (lambda a: a.update(pts=[0, 2000, 1000], frame_times_s=[0.0, 2.0, 1.0]), "times", "row 2 is earlier"),
        (lambda a: a.update(time_base="1/0"), "times", "cannot be read"),
        (lambda a: a.update(start="soon"), "times", "cannot be read"),
        (lambda a: a.update(time_base="1/999"), "times", "is not that of its pts"),
        (lambda a: a.update(decoder="other"), "metadata", "not the bytes that were committed"),
        (lambda a: a.update(source_sha256="41"), "metadata", "source_sha256 must be"),
        (lambda a: a.pop("pts"), "metadata", "pts missing"),
    ],
)
def test_metadata_and_times_that_do_not_match_are_named(
    change: Callable[[dict[str, Any]], None], kind: str, says: str, path: Path
) -> None:
    edit(metadata_of(path, "b"), change)
    report = verify_cache(path)
    assert found(report) == [("b", kind)]
    assert says in report.findings[0].what


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"attributes": 3}', "\udce9"])
def test_unreadable_metadata_is_named(text: str, path: Path) -> None:
    metadata_of(path, "b").write_bytes(text.encode("utf-8", "surrogateescape"))
    report = verify_cache(path)
    assert found(report) == [("b", "metadata")]


def test_missing_metadata_and_a_missing_folder_are_named(path: Path) -> None:
    metadata_of(path, "a").unlink()
    shutil.rmtree(path / "videos" / "b")
    assert found(verify_cache(path)) == [("a", "metadata"), ("b", "metadata"), ("b", "rows")]


def test_a_shape_that_the_metadata_does_not_have_is_named(path: Path) -> None:
    with_other_shape = json.loads(metadata_of(path, "b").read_bytes()) | {"shape": [2, 6]}
    metadata_of(path, "b").write_text(json.dumps(with_other_shape))
    report = verify_cache(path)
    assert found(report) == [("b", "metadata")]
    assert "shape must be [3, 6], got [2, 6]" in report.findings[0].what


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0], lines[1].replace(b'"b"', b'"B"'), lines[2]],
        lambda lines: [lines[0], b"garbage\n", *lines[1:]],
        lambda lines: [*lines[:2], lines[2][:-1]],
        lambda lines: [lines[0] + lines[1][:20], *lines[2:]],
    ],
)
def test_changed_journal_lines_are_named(change: Callable[[list[bytes]], list[bytes]], path: Path) -> None:
    journal = journal_of(path)
    journal.write_bytes(b"".join(change(journal.read_bytes().splitlines(keepends=True))))
    report = verify_cache(path)
    assert {finding.kind for finding in report.findings} == {"journal"}
    assert report.findings[0].item == f"_journal/{journal.name}"
    assert str(journal) in report.findings[0].what


@pytest.mark.parametrize("tail", [b'{"video_id":"d","fol', b"\0\0\0\0\n", b'{"video_id"\0\0\0\n'])
def test_what_a_power_cut_leaves_of_a_last_line_is_a_note_and_no_damage(tail: bytes, path: Path) -> None:
    with journal_of(path).open("ab") as journal:
        journal.write(tail)
    report = verify_cache(path)
    assert report.findings == []
    assert "power cut" in report.notes[0]
    assert report.content_hash == content_hash(open_cache(path))


def test_a_deleted_journal_is_named(path: Path) -> None:
    journal_of(path).unlink()
    report = verify_cache(path)
    assert found(report) == [("_journal", "journal")]
    assert "3 folders have no journal line (a, b, c)" in report.findings[0].what
    shutil.rmtree(path / "_journal")
    assert ("_journal", "journal") in found(verify_cache(path))


def test_a_folder_that_a_dead_writer_left_is_a_note(path: Path) -> None:
    shutil.copytree(path / "videos" / "a", path / "videos" / "left")
    report = verify_cache(path)
    assert report.findings == []
    assert report.notes == ["no commit speaks of videos/left: left by a writer that died, to be redone"]


@pytest.mark.parametrize("name", ["zarr.json", "videos/zarr.json"])
def test_damaged_groups_are_named(name: str, path: Path) -> None:
    (path / name).write_text("{")
    assert found(verify_cache(path)) == [(name, "root")]
    (path / name).unlink()
    report = verify_cache(path)
    assert found(report) == [(name, "root")]
    assert report.videos == (0 if name == "zarr.json" else 3)


def test_a_changed_provenance_is_named(path: Path) -> None:
    edit(path / "zarr.json", lambda a: a["provenance"].update(fps=2.0))
    report = verify_cache(path)
    assert found(report) == [("zarr.json", "root")]
    assert "its checksum differs" in report.findings[0].what


def test_what_is_no_cache_or_a_newer_one_is_a_usage_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no cache at"):
        verify_cache(tmp_path)

    def newer(attributes: dict[str, Any]) -> None:
        attributes["format_version"] = 2
        attributes["sha256"] = digest(attributes)

    edit(path / "zarr.json", newer)
    with pytest.raises(UsageError, match="the format must be 1, got 2"):
        verify_cache(path)


def test_only_the_videos_asked_for_are_read(path: Path) -> None:
    rows_of(path, "a").unlink()
    report = verify_cache(path, ["b", "c"])
    assert (report.videos, report.findings, report.content_hash) == (2, [], "")
    assert found(verify_cache(path, ["a"])) == [("a", "rows")]
    with pytest.raises(UsageError, match="holds no video 'x'"):
        verify_cache(path, ["x"])


def test_zarrs_own_index_of_the_group_is_no_damage(path: Path) -> None:
    import zarr

    zarr.consolidate_metadata(str(path))
    assert verify_cache(path).findings == []


def replace_again_and_again(path: Path, ready: str) -> None:
    with CacheWriter(path, provenance()) as writer:
        for number in range(40):
            rows = random_rows(number, 3 + number % 3)
            store(writer, "b", rows, source=b"source %d" % number)
            Path(ready).touch()


def test_a_video_that_is_being_replaced_is_no_damage(path: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    writer = start(replace_again_and_again, path, str(ready))
    while not ready.exists():
        assert writer.is_alive()
    rounds = 0
    while writer.is_alive():
        assert verify_cache(path).findings == []
        rounds += 1
    assert finish(writer) == 0
    assert rounds > 3
