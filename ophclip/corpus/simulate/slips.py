# SPDX-License-Identifier: Apache-2.0
"""The slips of automatic transcription: near homophones, dropped endings, lost punctuation, echoes."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from ophclip.corpus.simulate.grammar import chance, pick
from ophclip.corpus.simulate.speech import load_speech

_DROPPABLE = re.compile(r"(?<=\w{3})(ing|ed|s)\b")


def mishear(rng: np.random.Generator, text: str, probability: float = 0.1) -> str:
    """Replace each term of the field, with the given probability, by what a recogniser hears instead."""

    def hear(match: re.Match[str]) -> str:
        heard = pick(rng, load_speech().misheard[match[0].lower()])
        return heard if chance(rng, probability) else match[0]

    return _terms().sub(hear, text)


def slur(rng: np.random.Generator, text: str) -> str:
    """Drop the ending of a word, or say a word twice, now and then."""
    if chance(rng, 0.06):
        endings = list(_DROPPABLE.finditer(text))
        if endings:
            lost = endings[int(rng.integers(len(endings)))]
            kept = "in" if lost[0] == "ing" else ""
            text = text[: lost.start()] + kept + text[lost.end() :]
    if chance(rng, 0.05):
        words = text.split()
        index = int(rng.integers(len(words)))
        text = " ".join([*words[: index + 1], words[index].strip(",."), *words[index + 1 :]])
    return text


def punctuate(rng: np.random.Generator, text: str) -> str:
    """Write a spoken sentence down: mostly as one, sometimes bare of capitals and marks as ASR gives it."""
    if chance(rng, 0.3):
        return re.sub(r"[,.;:!?]", "", text).lower()
    return text[0].upper() + text[1:] + pick(rng, (".", ".", ".", "", "..."))


@cache
def _terms() -> re.Pattern[str]:
    longest_first = sorted(load_speech().misheard, key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(longest_first)})\b", re.IGNORECASE)
