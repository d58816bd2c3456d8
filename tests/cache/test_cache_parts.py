# SPDX-License-Identifier: Apache-2.0
"""`--part i/n`: builds that know nothing of each other leave what one would."""

from __future__ import annotations

from pathlib import Path

import pytest
from cache_children import finish, start
from cache_corpus import build, tree
from hypothesis import given
from hypothesis import strategies as st

from ophclip.cache import CacheInput, Part, open_cache
from ophclip.cache.content import content_hash
from ophclip.errors import UsageError


@given(st.text(), st.integers(1, 50))
def test_every_id_is_in_exactly_one_part(video_id: str, count: int) -> None:
    assert sum(Part(number, count).holds(video_id) for number in range(1, count + 1)) == 1


def test_an_id_stays_in_its_part_from_one_version_to_the_next() -> None:
    ids = ["case_012", "fall-Ä", "白内障", "\udcff", ""]
    assert [[Part(n, 4).holds(i) for n in range(1, 5)].index(True) for i in ids] == [0, 3, 1, 1, 0]


def test_parts_are_of_about_the_same_size() -> None:
    ids = [f"video{number}" for number in range(8000)]
    for number in range(1, 9):
        assert 850 < sum(Part(number, 8).holds(video_id) for video_id in ids) < 1150


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "-1/4", "1/0", "1/4/2", "a/b", "1.0/2", "1 /2"])
def test_what_is_no_part_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(UsageError, match="from 1 to N") as raised:
        Part.parse(text)
    assert "3/8" in raised.value.remedy


def test_parts_at_once_leave_the_bytes_of_one_build(
    clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.zarr"
    parts = [Part.parse(f"{number}/3").of(clips) for number in (1, 2, 3)]
    assert sorted(len(part) for part in parts) != [0, 0, len(clips)]
    processes = [start(build_part, part, out) for part in parts]
    assert [finish(process) for process in processes] == [0, 0, 0]
    assert tree(out) == tree(built)
    assert content_hash(open_cache(out)) == content_hash(open_cache(built))
    journals = {entry.name for entry in (out / "_journal").glob("commits-*")}
    assert len(journals) == sum(bool(part) for part in parts), "each part has a journal of its own"


def build_part(part: list[CacheInput], out: Path) -> None:
    build(part, out)
