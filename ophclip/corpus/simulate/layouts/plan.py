# SPDX-License-Identifier: Apache-2.0
"""What a layout writes: films to draw, text and picture files, and what a check should count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ophclip.corpus.simulate.layouts.footage import Film
from ophclip.corpus.simulate.production import Script

Named = Mapping[str, tuple[str, str]]  # what is simulated -> key of the class, and how the dataset writes it


@dataclass
class Plan:
    """The content of a folder; paths are absolute, `shown` are keys of classes that occur."""

    films: list[Film] = field(default_factory=list)
    files: dict[Path, bytes] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)

    def write_text(self, path: Path, lines: Iterable[str], *, encoding: str = "utf-8") -> None:
        """Add a text file."""
        self.files[path] = ("\n".join(lines) + "\n").encode(encoding)

    def count(self, what: str, number: int = 1) -> None:
        """Count something that a check should find."""
        self.counts[what] = self.counts.get(what, 0) + number


def splits_of(scripts: Sequence[Script]) -> list[str]:
    """Return a split for each operation: every third one, the first included, is to test on."""
    return ["test" if number % 3 == 0 else "train" for number in range(len(scripts))]
