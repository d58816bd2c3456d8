# SPDX-License-Identifier: Apache-2.0
"""What a build says at its end: counts, what is wrong with which file, and how fast people speak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

BIN_WORDS_PER_S = 0.125
LAST_BIN = 24  # 3 words a second and more: nobody speaks faster for long
BAR = 40


@dataclass
class BuildReport:
    """Counts of a build. `problems` are (file, what is wrong); every number is of the corpus as written."""

    out: str
    videos: int = 0
    narrated: int = 0
    silent_with_speech: int = 0
    silent_without_transcript: int = 0
    left_out: int = 0
    clips: Counter[str] = field(default_factory=Counter)  # by window
    words: int = 0
    narrated_s: float = 0.0
    silent_s: float = 0.0
    transcripts: Counter[str] = field(default_factory=Counter)  # by kind
    structured_titles: int = 0
    repairs: int = 0
    rewritten: int = 0
    reused: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)  # words a second of the videos with a transcript
    threshold: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return all but the rates as plain types."""
        return {
            "out": self.out,
            "videos": self.videos,
            "narrated": self.narrated,
            "silent": self.videos - self.narrated,
            "silent_with_speech": self.silent_with_speech,
            "silent_without_transcript": self.silent_without_transcript,
            "left_out": self.left_out,
            "clips": dict(self.clips),
            "words": self.words,
            "narrated_hours": round(self.narrated_s / 3600, 4),
            "silent_hours": round(self.silent_s / 3600, 4),
            "transcripts": dict(sorted(self.transcripts.items())),
            "structured_titles": self.structured_titles,
            "corrections": self.repairs,
            "rewritten": self.rewritten,
            "min_words_per_s": self.threshold,
            "words_per_s_histogram": {"bin": BIN_WORDS_PER_S, "videos": bins(self.rates)},
            "notes": dict(sorted(self.notes.items())),
            "ignored_files": dict(sorted(self.ignored.items())),
            "problems": [{"file": file, "problem": problem} for file, problem in self.problems],
        }


def bins(rates: Sequence[float]) -> list[int]:
    """Count rates in bins of BIN_WORDS_PER_S; the last has all that is faster."""
    counts = [0] * (LAST_BIN + 1)
    for rate in rates:
        counts[min(int(rate / BIN_WORDS_PER_S), LAST_BIN)] += 1
    return counts


def histogram(rates: Sequence[float], threshold: float) -> list[str]:
    """Return the lines of a histogram of speech rates, with a line across at the threshold."""
    counts = bins(rates)
    last = max((index for index, count in enumerate(counts) if count), default=0)
    most = max(counts) or 1
    lines = ["words a second   videos with a transcript"]
    marked = False
    for index in range(last + 1):
        start = index * BIN_WORDS_PER_S
        if not marked and threshold <= start:
            lines.append(_mark(threshold))
            marked = True
        count = counts[index]
        bar = "#" * max(round(BAR * count / most), count > 0)
        upper = f"-{start + BIN_WORDS_PER_S:5.3f}" if index < LAST_BIN else " up   "
        lines.append(f"  {start:5.3f}{upper} {count:7d} {bar}".rstrip())
        if not marked and threshold < start + BIN_WORDS_PER_S:
            lines.append(_mark(threshold))
            marked = True
    if not marked:
        lines.append(_mark(threshold))
    return lines


def _mark(threshold: float) -> str:
    return f"  ---- narrated from {threshold:g} on ----"
