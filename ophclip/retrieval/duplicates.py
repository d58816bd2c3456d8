# SPDX-License-Identifier: Apache-2.0
"""Silent videos that are a narrated one once more: the same file, the same upload, or the same title."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from ophclip.ops.reference import Exclusions

ByTitle = Literal["none", "same", "near"]

_YOUTUBE_ID = re.compile(r"\[([\w-]{11})\]\.\w+$")  # as yt-dlp names its downloads
_WORD = re.compile(r"[^\W_]+")


class Duplicates:
    """Looks up which of M silent videos must not be retrieved for a narrated one.

    Args:
        sources: of the silent videos, as `source_of` gives them; None to tell no videos apart by source.
        titles: of the silent videos, as uploaded.
        by_title: "same" titles are equal but for case, marks and spaces; "near" ones hold the same words
            but for numbers and order; "none" tells no videos apart by title.
    """

    def __init__(
        self, sources: Sequence[str] | None, titles: Sequence[str], by_title: ByTitle = "none"
    ) -> None:
        self._by_title = by_title
        self._sources = _places(sources) if sources is not None else {}
        self._titles = _places([_title_key(title, by_title) for title in titles])
        self._titles.pop("", None)  # untitled videos are not all the same one

    def of(self, sources: Sequence[str], titles: Sequence[str]) -> Exclusions | None:
        """Return the slots to leave out of each query as CSR lists, `[Q]`; None where there are none."""
        found = [
            sorted({*self._sources.get(source, ()), *self._titles.get(_title_key(title, self._by_title), ())})
            for source, title in zip(sources, titles, strict=True)
        ]
        if not any(found):
            return None
        counts = torch.tensor([0, *map(len, found)], dtype=torch.int64)
        return counts.cumsum(0), torch.tensor([slot for slots in found for slot in slots], dtype=torch.int64)


def source_of(path: Path) -> str:
    """Return what tells a video's origin: the YouTube id in its file's name, or else the file's place."""
    found = _YOUTUBE_ID.search(path.name)
    return found[1] if found else str(path)


def _places(names: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for slot, name in enumerate(names):
        places.setdefault(name, []).append(slot)
    return places


def _title_key(title: str, by_title: ByTitle) -> str:
    words = _WORD.findall(title.casefold())
    if by_title == "none":
        return ""
    if by_title == "same":
        return " ".join(words)
    return " ".join(sorted({word for word in words if not any(c.isdigit() for c in word)}))
