# SPDX-License-Identifier: Apache-2.0
"""What a build can be told; every default is our choice, none is stated by the paper."""

from __future__ import annotations

from dataclasses import dataclass

from ophclip.corpus.sentences import Window
from ophclip.corpus.transcripts import KINDS, TranscriptKind
from ophclip.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class BuildSettings:
    """How downloads become a corpus.

    `windows`: lengths of clips in seconds, each of which gives clips of its own. `min_words_per_s`: words in
    each second of the whole video from which on it is narrated. `language`: what transcripts must be in,
    regions included ("en" takes en-GB). `prefer`: kinds of transcripts in the order in which they are chosen.
    `correct`: whether misheard terms are mended. `min_words`: of a clip that names no term.
    `test_share`: of videos, by a hash of the id, in the split "test".
    """

    windows: tuple[Window, ...] = (Window(3, 5), Window(8, 15))
    min_words_per_s: float = 0.25
    language: str = "en"
    prefer: tuple[TranscriptKind, ...] = KINDS
    correct: bool = True
    min_words: int = 2
    test_share: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.windows or len({window.label for window in self.windows}) < len(self.windows):
            raise UsageError("windows must be one or more, each once", remedy="pass --window-s 3-5")
        if not 0 <= self.min_words_per_s < float("inf"):
            raise UsageError(
                f"min_words_per_s must be 0 or more, got {self.min_words_per_s}",
                remedy="pass --min-words-per-s 0.25",
            )
        if not 0 <= self.test_share < 1:
            raise UsageError(
                f"test_share must be at least 0 and below 1, got {self.test_share}", remedy="pass 0.1"
            )
        if self.min_words < 1:
            raise UsageError(
                f"min_words must be 1 or more, got {self.min_words}", remedy="pass --min-words 2"
            )


def parse_preference(text: str) -> tuple[TranscriptKind, ...]:
    """Read a list of kinds ("manual,whisperx"); those that it does not name follow in their usual order.

    Raises:
        UsageError: a kind is unknown.
    """
    first: list[TranscriptKind] = []
    for name in text.split(","):
        kind = next((kind for kind in KINDS if kind == name.strip()), None)
        if kind is None:
            raise UsageError(f"no kind of transcript {name!r}", remedy=did_you_mean(name, KINDS))
        first.append(kind)
    return tuple(dict.fromkeys((*first, *KINDS)))
