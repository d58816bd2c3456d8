# SPDX-License-Identifier: Apache-2.0
"""Mend misheard terms in timed words: several words may become one, which then has all their time."""

from __future__ import annotations

from collections.abc import Sequence

from ophclip.corpus.lexicon import Repair, load_corrector
from ophclip.corpus.lexicon.normal import normal_words
from ophclip.corpus.transcripts import Word

Mended = tuple[float, str, str]  # start_s, heard, meant

_MARKS = ".,;:!?\u2026"


def normal_of(word: str) -> tuple[str, ...]:
    """Return the normal words in one written word: "phaco-chop" has two, "..." none."""
    return (word.lower(),) if word.isascii() and word.isalpha() and len(word) < 5 else normal_words(word)


def mend(words: Sequence[Word]) -> tuple[list[Word], list[Mended]]:
    """Return the words with misheard terms corrected, and what was corrected, in order.

    A correction keeps the marks that follow the words it replaces, and a capital at its start. It never
    begins or ends within a written word.
    """
    normal: list[str] = []
    owner: list[int] = []  # the written word of each normal one
    breaks: set[int] = set()
    for index, word in enumerate(words):
        forms = normal_of(word.text)
        normal += forms
        owner += [index] * len(forms)
        if word.text[-1:] in _MARKS:
            breaks.add(len(normal))
    mended: list[Word] = []
    told: list[Mended] = []
    done = 0
    for repair in load_corrector().find(normal, frozenset(breaks)):
        if not _is_whole(repair, owner):
            continue
        first, last = owner[repair.first], owner[repair.after - 1]
        heard = " ".join(word.text for word in words[first : last + 1])
        text = _as_written(heard, repair.meant)
        mended += words[done:first]
        mended += _share(words[first].start_s, words[last].end_s, text)
        told.append((round(words[first].start_s, 3), heard.strip(_MARKS), repair.meant))
        done = last + 1
    mended += words[done:]
    return mended, told


def _is_whole(repair: Repair, owner: Sequence[int]) -> bool:
    begins = repair.first == 0 or owner[repair.first - 1] != owner[repair.first]
    return begins and (repair.after == len(owner) or owner[repair.after] != owner[repair.after - 1])


def _as_written(heard: str, meant: str) -> str:
    if heard[:1].isupper():
        meant = meant[:1].upper() + meant[1:]
    return meant + heard[len(heard.rstrip(_MARKS)) :]


def _share(start_s: float, end_s: float, text: str) -> list[Word]:
    parts = text.split()
    step_s = (end_s - start_s) / len(parts)
    return [
        Word(start_s + step_s * index, start_s + step_s * (index + 1), part)
        for index, part in enumerate(parts)
    ]
