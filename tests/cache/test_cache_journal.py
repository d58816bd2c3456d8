# SPDX-License-Identifier: Apache-2.0
"""The journal alone says what is committed: torn, damaged, revoked and out-of-order lines."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from cache_corpus import provenance, random_rows, store, write_cache

from ophclip.cache import open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.journal import JournalWriter, is_live, read_commits, read_failures
from ophclip.errors import DamageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A cache of the videos a, b and c, all in one journal."""
    return write_cache(tmp_path / "c.zarr", {name: random_rows(1, 3) for name in "abc"})


def journal(path: Path) -> Path:
    (only,) = (path / "_journal").glob("commits-*.jsonl")
    return only


def test_a_torn_last_line_is_no_commit(path: Path) -> None:
    whole = journal(path).read_bytes()
    start_of_last = whole.rstrip().rindex(b"\n") + 1
    for end in range(start_of_last, len(whole)):
        journal(path).write_bytes(whole[:end])
        assert open_cache(path).ids == ["a", "b"]


def test_a_last_line_of_zeros_is_no_commit(path: Path) -> None:
    whole = journal(path).read_bytes()
    start_of_last = whole.rstrip().rindex(b"\n") + 1
    for kept in (0, 20):
        zeros = b"\0" * (len(whole) - start_of_last - kept)
        journal(path).write_bytes(whole[:start_of_last] + zeros + whole[len(whole) - kept :])
        assert open_cache(path).ids == ["a", "b"]


@pytest.mark.parametrize(
    "damage",
    [
        b"{",
        b"",
        b"3",
        b"null",
        b"{}",
        b"\xff\xfe",
        b'{"video_id":"b","time_ns":1}',
        b'{"video_id":"b","time_ns":1,"reason":"of another journal"}',
        b'{"video_id":7,"time_ns":1,"revoked":true}',
        b'{"video_id":"b","time_ns":"1","revoked":true}',
    ],
)
@pytest.mark.parametrize("number", [2, 3])
def test_a_damaged_line_is_named_with_its_number(number: int, damage: bytes, path: Path) -> None:
    lines = journal(path).read_bytes().splitlines()
    lines[number - 1] = damage
    journal(path).write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(DamageError) as caught:
        open_cache(path)
    assert caught.value.message == f"{journal(path)}:{number}: not a journal line"
    with pytest.raises(DamageError):
        CacheWriter(path, provenance())
    assert journal(path), "the refused writer leaves no journal of its own"


@pytest.mark.parametrize(
    ("key", "value"),
    [("folder", "../../a"), ("folder", ".."), ("folder", "/etc"), ("shape", [-3, -6]), ("shape", ["3", 6])],
)
def test_a_line_that_leads_out_of_the_cache_or_has_no_shape_is_damage(
    key: str, value: object, path: Path
) -> None:
    lines = journal(path).read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {key: value})
    journal(path).write_text("\n".join(lines) + "\n")
    with pytest.raises(DamageError, match=r":2: not a journal line"):
        open_cache(path)


def test_keys_of_a_later_program_are_passed_over(path: Path) -> None:
    lines = journal(path).read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {"added_later": 1})
    journal(path).write_text("\n".join(lines) + "\n")
    assert open_cache(path).ids == ["a", "b", "c"]


def test_a_missing_journal_is_damage_and_not_an_empty_cache(path: Path) -> None:
    journal(path).unlink()
    for entry in (path / "_journal").iterdir():
        entry.unlink()
    (path / "_journal").rmdir()
    with pytest.raises(DamageError, match="_journal is missing"):
        open_cache(path)
    with CacheWriter(path, provenance()) as writer:  # as the remedy says
        store(writer, "a", random_rows(1, 3))
    assert open_cache(path).ids == ["a"]


def test_a_revoked_video_is_invisible_until_it_is_committed_again(path: Path) -> None:
    writer = JournalWriter(path)
    writer.revoke("b")
    assert open_cache(path).ids == ["a", "c"]
    writer.close()
    with CacheWriter(path, provenance()) as again:
        assert not again.is_stored("b")
        store(again, "b", random_rows(2, 4))
    cache = open_cache(path)
    assert cache.ids == ["a", "b", "c"]
    assert cache.num_frames("b") == 4


def test_a_writer_whose_clock_is_behind_has_the_last_word(path: Path) -> None:
    lines = [json.loads(line) for line in journal(path).read_text().splitlines()]
    ahead = [entry | {"time_ns": time.time_ns() + 3600 * 10**9} for entry in lines]
    journal(path).write_text("".join(json.dumps(entry) + "\n" for entry in ahead))
    with CacheWriter(path, provenance()) as writer:
        store(writer, "b", random_rows(2, 5), b"changed")
    assert open_cache(path).num_frames("b") == 5
    assert open_cache(path)["b"].tobytes() == random_rows(2, 5).tobytes()


def test_failures_are_listed_until_the_video_is_committed(path: Path) -> None:
    with CacheWriter(path, provenance()) as writer:
        writer.fail("d", "first reason")
        writer.fail("d", "the file is empty")
        writer.fail("e", "no video stream")
        assert read_failures(path) == {"d": "the file is empty", "e": "no video stream"}
        store(writer, "d", random_rows(1, 3))
    assert read_failures(path) == {"e": "no video stream"}


def test_a_writer_that_wrote_nothing_leaves_no_journal(path: Path) -> None:
    before = sorted((path / "_journal").iterdir())
    CacheWriter(path, provenance()).close()
    assert sorted((path / "_journal").iterdir()) == before


def test_a_writer_is_live_until_it_is_closed(path: Path) -> None:
    writer = JournalWriter(path)
    writer.revoke("nothing")
    assert is_live(path, writer.name)
    writer.close()
    assert not is_live(path, writer.name)
    assert not is_live(path, "nobody")


def test_commits_of_several_journals_come_sorted_by_id(path: Path) -> None:
    for name in ("z", "B", "aa"):
        with CacheWriter(path, provenance()) as writer:
            store(writer, name, random_rows(1, 3))
    assert list(read_commits(path)) == ["B", "a", "aa", "b", "c", "z"]
