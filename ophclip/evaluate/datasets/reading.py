# SPDX-License-Identifier: Apache-2.0
"""What an adapter says of its dataset, what it reads from a download, and what it finds wrong there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["phase", "instruments", "phase and instruments"]
Unit = Literal["second", "clip", "picture"]
Severity = Literal["error", "warning", "note"]

BACKGROUND = -1  # the label of a span outside every class: idle, not initialised, others, rest


@dataclass(frozen=True)
class Published:
    """A count that the dataset's authors give; `source` tells how surely it is known (docs/datasets.md)."""

    what: str  # "videos", "pictures" or "clips", with ".train" and the like for one split
    count: int
    source: Literal["stated", "read", "recalled"] = "read"


@dataclass(frozen=True)
class Facts:
    """What is known of a dataset before any of it is read: `ophclip evaluate --list` prints it.

    `classes` are keys in label order; empty where the download itself names them. `gaps` says what a time
    between two labels means, `background` names what is outside every class.
    """

    name: str
    title: str
    task: Task
    unit: Unit
    classes: tuple[str, ...]
    licence: str
    where: str
    split: str
    eval_split: str = ""  # the split that is scored; empty: all videos, because there is no official one
    fps: float = 1.0  # label rows a second
    background: str = ""
    gaps: Literal["background", "unlabelled", "defect"] = "unlabelled"
    overlaps_are_published: bool = False  # the published file has them: told, but no defect
    published: tuple[Published, ...] = ()
    prompts: str = ""


@dataclass(frozen=True)
class Span:
    """One label from `start` up to but without `end`, exact seconds; an `end` of None is the video's end."""

    start: Fraction
    end: Fraction | None
    label: int
    line: int | None = None  # of the labels file


@dataclass(frozen=True)
class Recording:
    """One video, clip or folder of pictures with all that the dataset says of it.

    `presence` is 0/1 `[T, C]`: a row a label row (`Facts.fps`), or a row a picture.
    """

    video_id: str
    path: Path
    labels_file: Path
    line: int | None = None  # of the labels file, where it first speaks of the video
    split: str = ""
    spans: tuple[Span, ...] = ()
    presence: NDArray[np.int64] | None = None
    pictures: tuple[Path, ...] = ()
    length: Fraction | None = None  # seconds, where the annotation tells
    rate: Fraction | None = None  # frames a second by which label frames became seconds


@dataclass(frozen=True)
class Reading:
    """A download as read: its recordings, and the classes and prompts where the download names them."""

    recordings: list[Recording]
    phases: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()
    prompts: str = ""
    eval_split: str = ""


@dataclass(frozen=True)
class Finding:
    """Something wrong or notable. Evaluation refuses an error; a check ends with 4 on errors and warnings.

    `line` counts from 1; in a picture it is the row of pixels, and a video has none.
    """

    severity: Severity
    kind: str
    message: str
    file: Path
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else str(self.file)
        return f"{place}: {self.message}"


@dataclass
class Findings:
    """The findings of one download, in the order of reading."""

    found: list[Finding] = field(default_factory=list)

    def error(self, kind: str, message: str, file: Path, line: int | None = None) -> None:
        """Add what makes the labels wrong or unreadable."""
        self.found.append(Finding("error", kind, message, file, line))

    def warning(self, kind: str, message: str, file: Path, line: int | None = None) -> None:
        """Add a defect of the download that a score survives, told beside it."""
        self.found.append(Finding("warning", kind, message, file, line))

    def note(self, kind: str, message: str, file: Path, line: int | None = None) -> None:
        """Add what a person should know and the dataset allows."""
        self.found.append(Finding("note", kind, message, file, line))

    def of(self, severity: Severity) -> list[Finding]:
        """Return the findings of one severity."""
        return [finding for finding in self.found if finding.severity == severity]


@dataclass(frozen=True)
class Adapter:
    """A dataset: its facts, and how a download in a folder is read.

    `read(root, findings, thorough)` never raises for what is in the files: it adds a finding and goes on.
    `thorough` reads also what no label row needs.
    """

    facts: Facts
    read: Callable[[Path, Findings, bool], Reading]
