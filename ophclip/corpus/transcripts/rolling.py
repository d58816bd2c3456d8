# SPDX-License-Identifier: Apache-2.0
"""Automatic captions scroll: each cue repeats the line of the one before it. Each line is taken once.

Two lines stand on the screen. A cue shows the last line again and adds one below, word by word; a cue of
10 ms between two others shows what stands already. Converters to SubRip keep the repetition and lose the
times of the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ophclip.corpus.transcripts.cues import Cue, Word, spread

ROLLING_SHARE = 0.3  # of neighbouring cues that share lines; people repeat themselves less
LARGEST_GAP_S = 0.1  # between cues of one scroll


@dataclass(frozen=True, slots=True)
class Line:
    """One line on the screen; `word_times` are (index of the word, seconds) of its inline times."""

    text: str
    word_times: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True)
class Block:
    """The lines that stand on the screen from `start_s` to `end_s`."""

    start_s: float
    end_s: float
    lines: list[Line] = field(default_factory=list)


def is_rolling(blocks: Sequence[Block]) -> bool:
    """Return whether cues without inline times repeat each other's lines as a scroll does."""
    shown = [block for block in blocks if block.lines]
    pairs = list(pairwise(shown))
    near = [pair for pair in pairs if abs(pair[1].start_s - pair[0].end_s) <= LARGEST_GAP_S]
    shared = sum(_num_shared(before.lines, after.lines) > 0 for before, after in near)
    return len(near) >= 2 and shared >= ROLLING_SHARE * len(pairs)


def unroll(blocks: Sequence[Block]) -> list[Cue]:
    """Return one cue for each line that appears, with the times of its words."""
    cues: list[Cue] = []
    standing: list[Line] = []
    for block in blocks:
        new = block.lines[_num_shared(standing, block.lines) :]
        if block.lines:
            standing = block.lines
        start_s = block.start_s
        for position, line in enumerate(new):
            end_s = (
                block.end_s
                if position == len(new) - 1
                else _middle(start_s, block.end_s, len(new) - position)
            )
            cues.append(_cue(line, start_s, end_s))
            start_s = end_s
    return cues


def _middle(start_s: float, end_s: float, parts: int) -> float:
    return start_s + (end_s - start_s) / parts


def _num_shared(standing: Sequence[Line], lines: Sequence[Line]) -> int:
    """Return how many lines at the end of `standing` are the first of `lines`."""
    for count in range(min(len(standing), len(lines)), 0, -1):
        tail = standing[len(standing) - count :]
        if all(before.text == after.text for before, after in zip(tail, lines, strict=False)):
            return count
    return 0


def _cue(line: Line, start_s: float, end_s: float) -> Cue:
    if not line.word_times:
        return Cue(start_s, end_s, line.text)
    texts = line.text.split()
    marks = [(0, start_s)] + [mark for mark in line.word_times if mark[0] < len(texts)]
    marks.append((len(texts), end_s))
    words: list[Word] = []
    for (first, begin_s), (after, finish_s) in pairwise(marks):
        if after > first:
            words += spread(" ".join(texts[first:after]), begin_s, max(finish_s, begin_s))
    return Cue(start_s, end_s, line.text, tuple(words))
