# SPDX-License-Identifier: Apache-2.0
"""Structured titles: "<surgery> | <phase or technique> | <instrument> | ...", of what title and tags name.

The parts stand in the order in which a surgeon would tell them, several of one kind joined by commas:

    surgery | phases and techniques | instruments | medications | cause | objective | advice

A part about which nothing is known is left out, and a title that names nothing at all has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ophclip.corpus.lexicon.load import Term
from ophclip.corpus.lexicon.tag import Tagger

PARTS = (
    ("surgery",),
    ("phase", "operation"),
    ("instrument",),
    ("medication",),
    ("cause",),
    ("objective",),
    ("advice",),
)
MAX_NAMES = 3  # in one part: a title, not an index
MIN_SHARE = 0.1  # of what is said most often in a part, that a term of the narration must reach

_HASHTAG = re.compile(r"#(\w+)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def structured_title(
    tagger: Tagger,
    title: str,
    tags: Iterable[str] = (),
    narration: Mapping[tuple[str, str], int] | None = None,
) -> str:
    """Return the structured title of a video, or "" where title, tags and narration name no term.

    What the title names comes first, then its tags, then the terms of the narration, given as counts by
    (category, id), from the most frequent on. The narration alone never decides which surgery it is: while
    one is explained others are mentioned.
    """
    found: dict[tuple[str, str], Term] = {}
    for text in [_HASHTAG.sub(lambda match: _CAMEL.sub(" ", match[1]), title), *tags]:
        for mention in tagger.find(text):
            found.setdefault((mention.term.category, mention.term.term_id), mention.term)
    _add_narrated(tagger, found, narration or {})
    said = {name.casefold() for term in found.values() if term.category == "surgery" for name in term.names}
    parts: list[str] = []
    for categories in PARTS:
        terms = [term for term in found.values() if term.category in categories]
        # A phase or cause that has its name in common with the surgery adds nothing: "phaco" is both.
        names = [term.name for term in terms if "surgery" in categories or term.name.casefold() not in said]
        if names:
            parts.append(", ".join(dict.fromkeys(names[:MAX_NAMES])))
    text = " | ".join(parts)
    return text[:1].upper() + text[1:]


def _add_narrated(
    tagger: Tagger, found: dict[tuple[str, str], Term], narration: Mapping[tuple[str, str], int]
) -> None:
    most: dict[str, int] = {}
    for key, count in sorted(narration.items(), key=lambda item: (-item[1], item[0])):
        category = key[0]
        if category not in ("surgery", "anatomy") and count >= MIN_SHARE * most.setdefault(category, count):
            found.setdefault(key, tagger.term(*key))
