# SPDX-License-Identifier: Apache-2.0
"""The form in which words are compared: lower case, plain letters, one spelling, singular."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SPELLINGS = (
    ("haem", "hem"),
    ("aesth", "esth"),
    ("oedema", "edema"),
    ("oesoph", "esoph"),
    ("orrhoea", "orrhea"),
)


@lru_cache(maxsize=200_000)
def normal_word(word: str) -> str:
    """Return the normal form of one word without punctuation."""
    if not word.isascii():
        word = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    word = word.casefold().replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "")
    for british, american in _SPELLINGS:
        if british in word:
            word = word.replace(british, american)
    return singular(word)


def singular(word: str) -> str:
    """Return a word without the ending of a regular plural."""
    if len(word) < 5 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "nses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1]


def find_words(text: str) -> list[tuple[str, int, int]]:
    """Return the words of a text: (normal form, start, end); hyphens and slashes part words."""
    return [
        (normal_word(match[0]), match.start(), match.end())
        for match in _WORD.finditer(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    ]


def normal_words(text: str) -> tuple[str, ...]:
    """Return the normal forms of the words of a text."""
    return tuple(
        normal_word(word) for word in _WORD.findall(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    )
