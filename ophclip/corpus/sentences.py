# SPDX-License-Identifier: Apache-2.0
"""From timed words to clips: cut at ends of sentences, else at commas and pauses, to given lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ophclip.corpus.transcripts import Word
from ophclip.errors import UsageError

# Abbreviations after which a full stop ends no sentence.
_ABBREVIATIONS = frozenset(
    {"dr.", "mr.", "mrs.", "ms.", "prof.", "vs.", "e.g.", "i.e.", "approx.", "no.", "fig.", "st.", "ca."}
    | {"etc.", "inc.", "mm.", "min.", "sec.", "ml.", "cc.", "dept."}
)
_CLOSING = "\"')]}»\u201d\u2019"
PAUSE_S = 0.4  # between two words, as good a place to cut as a comma
LONG_PAUSE_S = 0.9  # as good as a full stop
SHORT_SHARE = 0.6  # of the shortest length, that a whole sentence may have


@dataclass(frozen=True, slots=True)
class Window:
    """How long clips are to be, in seconds."""

    min_s: float
    max_s: float

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read "3-5".

        Raises:
            UsageError: it is no such range, or not 0 < min <= max.
        """
        parts = text.split("-")
        try:
            window = cls(*(float(part) for part in parts))
        except (TypeError, ValueError):
            window = cls(0, 0)
        if not (0 < window.min_s <= window.max_s and math.isfinite(window.max_s)):
            raise UsageError(
                f"a window must read MIN-MAX seconds, 0 < MIN <= MAX, got {text!r}", remedy="write 3-5"
            )
        return window

    @property
    def label(self) -> str:
        """The window as it was written, for ids and tables."""
        return f"{self.min_s:g}-{self.max_s:g}"


@dataclass(frozen=True, slots=True)
class Passage:
    """What is said between two times of a video."""

    start_s: float
    end_s: float
    text: str


def cut(words: Sequence[Word], window: Window, end_of_video_s: float = math.inf) -> list[Passage]:
    """Cut words, in the order of time, into passages of about `window` seconds.

    A passage ends at the end of a sentence where one lies within the window, else at a comma or a pause, else
    at a word. It never spans a silence longer than half the shortest length. A passage that is too short,
    before a silence, is widened into the silence around it, though never over a neighbour, over 0, or over
    the end of the video, where it stays shorter. Words that begin after the end of the video are left out.
    """
    words = [word for word in words if word.start_s < end_of_video_s]
    spans: list[tuple[int, int]] = []
    for first, last in _runs(words, window.min_s / 2):
        spans += _cut_run(words, first, last, window)
    return _widened(words, spans, window, end_of_video_s)


def _runs(words: Sequence[Word], longest_gap_s: float) -> list[tuple[int, int]]:
    """Return the stretches (first, after the last) without a longer silence in them."""
    starts = [
        index
        for index in range(len(words))
        if index == 0 or words[index].start_s - words[index - 1].end_s > longest_gap_s
    ]
    return list(pairwise([*starts, len(words)]))


def _cut_run(words: Sequence[Word], first: int, after: int, window: Window) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    while first < after:
        stop = _best_stop(words, first, after, window)
        spans.append((first, stop))
        first = stop
    return spans


def _best_stop(words: Sequence[Word], first: int, after: int, window: Window) -> int:
    """Return where the passage that starts with the word `first` ends best (after its last word)."""
    start_s = words[first].start_s
    rest_s = words[after - 1].end_s - start_s
    if rest_s <= window.max_s:
        return after
    limit_s = window.max_s
    if rest_s < window.max_s + window.min_s:  # leave enough for one more passage
        limit_s = max(rest_s - window.min_s, SHORT_SHARE * window.min_s)
    best, best_rank = first + 1, 0.0
    for stop in range(first + 1, after):
        length_s = words[stop - 1].end_s - start_s
        if length_s > limit_s and stop > first + 1:
            break
        rank = (
            _rank(words, stop) if length_s >= window.min_s else _rank_of_short(words, stop, length_s, window)
        )
        if rank >= best_rank:  # at equal rank the longer one
            best, best_rank = stop, rank
    return best


def _rank_of_short(words: Sequence[Word], stop: int, length_s: float, window: Window) -> float:
    """Return a rank between a word and a clause for a sentence that nearly fills the window, else none."""
    return 1.5 if length_s >= SHORT_SHARE * window.min_s and _rank(words, stop) == 3 else 0.0


def _rank(words: Sequence[Word], stop: int) -> int:
    """Return how good a place to cut lies before the word `stop`: 3 sentence, 2 clause or pause, 1 word."""
    text = words[stop - 1].text
    gap_s = words[stop].start_s - words[stop - 1].end_s if stop < len(words) else LONG_PAUSE_S
    if ends_sentence(text) or gap_s >= LONG_PAUSE_S:
        return 3
    return 2 if gap_s >= PAUSE_S or text.rstrip(_CLOSING)[-1:] in (",", ";", ":") else 1


def ends_sentence(word: str) -> bool:
    """Return whether a word, punctuation included, is the last of a sentence."""
    bare = word.rstrip(_CLOSING)
    return bare[-1:] in ("!", "?", "\u2026") or (bare.endswith(".") and bare.lower() not in _ABBREVIATIONS)


def _widened(
    words: Sequence[Word], spans: list[tuple[int, int]], window: Window, end_of_video_s: float
) -> list[Passage]:
    passages: list[Passage] = []
    floor_s = 0.0
    for index, (first, stop) in enumerate(spans):
        last = index + 1 == len(spans)
        ceiling_s = end_of_video_s if last else min(words[spans[index + 1][0]].start_s, end_of_video_s)
        start_s = max(words[first].start_s, floor_s)
        end_s = min(max(word.end_s for word in words[first:stop]), max(ceiling_s, start_s))
        missing_s = window.min_s - (end_s - start_s)
        if missing_s > 0:
            end_s = max(end_s, min(end_s + missing_s / 2, ceiling_s))
            start_s = min(start_s, max(end_s - window.min_s, floor_s))
            end_s = max(end_s, min(start_s + window.min_s, ceiling_s))
        start_s, end_s = math.ceil(start_s * 1000) / 1000, math.floor(end_s * 1000) / 1000
        if end_s > start_s:
            passages.append(Passage(start_s, end_s, " ".join(word.text for word in words[first:stop])))
            floor_s = end_s
    return passages
