# SPDX-License-Identifier: Apache-2.0
"""Cues: stretches of speech with their times, and the times of their words, set in order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise

LONGEST_WORD_S = 2.0  # aligners stretch a word over the silence that follows it


@dataclass(frozen=True, slots=True)
class Word:
    """One spoken word as it is written, punctuation included, with its times in seconds."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Cue:
    """What is said from `start_s` to `end_s`; `words` is empty where only the cue itself has times."""

    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...] = ()


@dataclass
class Transcript:
    """The cues of one file in the order of time.

    `notes` counts what had to be left out or set right, `problem` says what a person should mend in the file.
    """

    cues: list[Cue]
    language: str | None = None
    is_automatic: bool = False
    notes: Counter[str] = field(default_factory=Counter)
    problem: str | None = None


def in_order(cues: Iterable[Cue], notes: Counter[str]) -> list[Cue]:
    """Return the cues by start; those that lie before 0 are cut, those without length or text left out."""
    kept: list[Cue] = []
    latest = 0.0
    for cue in cues:
        if not (math.isfinite(cue.start_s) and math.isfinite(cue.end_s)):
            notes["cues without a finite time"] += 1
        elif cue.end_s <= cue.start_s:
            notes["cues that end before they start"] += 1
        elif cue.end_s <= 0:
            notes["cues before 0 s"] += 1
        elif cue.text.strip():
            if cue.start_s < 0:
                notes["cues cut at 0 s"] += 1
                cue = replace(cue, start_s=0.0)
            if cue.start_s < latest:
                notes["cues out of order"] += 1
            latest = max(latest, cue.start_s)
            kept.append(cue)
    return sorted(kept, key=lambda cue: cue.start_s)


def timed_words(cues: list[Cue]) -> list[Word]:
    """Return the words of cues that are in order; a word without times has its share of its cue's.

    A cue that runs into the next one ends there, and no word is longer than LONGEST_WORD_S.
    """
    cues = _joined_where_simultaneous(cues)
    words: list[Word] = []
    for index, cue in enumerate(cues):
        if cue.words:
            words += (_clamped(word, cue) for word in cue.words)
            continue
        end_s = cue.end_s
        if index + 1 < len(cues) and cue.start_s < cues[index + 1].start_s < end_s:
            end_s = cues[index + 1].start_s
        words += spread(cue.text, cue.start_s, end_s)
    if any(after.start_s < before.start_s for before, after in pairwise(words)):
        words.sort(key=lambda word: word.start_s)
    return words


def _joined_where_simultaneous(cues: list[Cue]) -> list[Cue]:
    """Join cues that start at once and have no word times: spread out they would be torn into each other."""
    joined: list[Cue] = []
    for cue in cues:
        before = joined[-1] if joined else None
        if before and before.start_s == cue.start_s and not before.words and not cue.words:
            joined[-1] = Cue(cue.start_s, max(before.end_s, cue.end_s), f"{before.text} {cue.text}")
        else:
            joined.append(cue)
    return joined


def spread(text: str, start_s: float, end_s: float) -> list[Word]:
    """Share a stretch of time out among the words of `text` by their length."""
    parts = text.split()
    total = sum(len(part) + 1 for part in parts)
    words: list[Word] = []
    done = 0
    for part in parts:
        begin = start_s + (end_s - start_s) * done / total
        done += len(part) + 1
        words.append(Word(begin, start_s + (end_s - start_s) * done / total, part))
    return words


def _clamped(word: Word, cue: Cue) -> Word:
    start_s = word.start_s if math.isfinite(word.start_s) and word.start_s >= 0 else cue.start_s
    end_s = word.end_s if math.isfinite(word.end_s) and word.end_s >= start_s else start_s
    end_s = min(end_s, start_s + LONGEST_WORD_S)
    return word if (start_s, end_s) == (word.start_s, word.end_s) else Word(start_s, end_s, word.text)
