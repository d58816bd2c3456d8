# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ophclip.retrieval import Duplicates, source_of
from ophclip.retrieval.duplicates import ByTitle

SILENT = ["Phaco, case 3!", "PHACO case 3", "case 12: Phaco", "", "Trabeculectomy", "untitled"]
SOURCES = ["a", "b", "c", "d", "a", "f"]


def found(by_title: ByTitle, source: str, title: str, *, by_source: bool = True) -> list[int]:
    lists = Duplicates(SOURCES if by_source else None, SILENT, by_title).of([source, "none"], [title, "x"])
    if lists is None:
        return []
    indptr, indices = lists
    assert indptr.tolist() == [0, len(indices), len(indices)]
    return indices.tolist()


@pytest.mark.parametrize(
    ("by_title", "title", "expected"),
    [
        ("none", "phaco case 3", []),
        ("same", "phaco: case 3", [0, 1]),
        ("near", "phaco case", [0, 1, 2]),
        ("near", "Trabeculectomy 2024", [4]),
        ("same", "", []),
        ("near", "2024 - 3", []),
    ],
)
def test_titles_are_compared_as_configured(by_title: ByTitle, title: str, expected: list[int]) -> None:
    assert found(by_title, "other", title) == expected


def test_videos_of_one_source_are_the_same_video() -> None:
    assert found("none", "a", "anything") == [0, 4]
    assert found("same", "a", "PHACO CASE 3") == [0, 1, 4]
    assert found("none", "a", "anything", by_source=False) == []


def test_the_source_is_the_youtube_id_or_the_file() -> None:
    one, other = Path("/x/Phaco [dQw4w9WgXcQ].mp4"), Path("/y/Phaco silent [dQw4w9WgXcQ].webm")
    assert source_of(one) == source_of(other) == "dQw4w9WgXcQ"
    assert source_of(Path("/x/case [2].mp4")) == "/x/case [2].mp4"
