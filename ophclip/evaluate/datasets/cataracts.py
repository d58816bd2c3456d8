# SPDX-License-Identifier: Apache-2.0
"""CATARACTS: a table a video, with a column of frame numbers and one of 0 or 1 for each of 21 tools."""

from __future__ import annotations

import csv
import re
from fractions import Fraction
from pathlib import Path

import numpy as np

from ophclip.evaluate.datasets.cat21 import letters
from ophclip.evaluate.datasets.delimited import text_of
from ophclip.evaluate.datasets.media import files_under, videos_by_stem
from ophclip.evaluate.datasets.reading import Adapter, Facts, Findings, Published, Reading, Recording

RATE = Fraction(30)  # frames a second, recalled; a check compares the videos

FACTS = Facts(
    name="cataracts",
    title="CATARACTS, tools",
    task="instruments",
    unit="second",
    classes=(
        "biomarker",
        "charleux_cannula",
        "hydrodissection_cannula",
        "rycroft_cannula",
        "viscoelastic_cannula",
        "cotton",
        "capsulorhexis_cystotome",
        "bonn_forceps",
        "capsulorhexis_forceps",
        "troutman_forceps",
        "needle_holder",
        "irrigation_aspiration_handpiece",
        "phacoemulsifier_handpiece",
        "vitrectomy_handpiece",
        "implant_injector",
        "primary_incision_knife",
        "secondary_incision_knife",
        "micromanipulator",
        "suture_needle",
        "mendez_ring",
        "vannas_scissors",
    ),
    licence="non-commercial research, on registration",
    where="IEEE DataPort: CATARACTS",
    split="official: train01 to train25 and test01 to test25; test is scored",
    eval_split="test",
    published=(
        Published("videos", 50),
        Published("videos.train", 25, "recalled"),
        Published("videos.test", 25, "recalled"),
    ),
    prompts="cataracts.toml",
)

TOOLS = {letters(name): index for index, name in enumerate(FACTS.classes)}
VIDEO = re.compile(r"(train|val|dev|test)_?\d+", re.IGNORECASE)
CELLS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


def _read(root: Path, findings: Findings, thorough: bool) -> Reading:
    videos = videos_by_stem(root, findings)
    recordings: dict[str, Recording] = {}
    for path in files_under(root):
        if path.suffix.lower() != ".csv" or not VIDEO.fullmatch(path.stem):
            continue
        table = _Table(path, findings)
        if table.columns is None:  # the steps of the later challenge have files of the same names
            continue
        if path.stem in recordings:
            said = f"the tools of {path.stem} are in {recordings[path.stem].labels_file} too"
            findings.error("duplicate", said, path, 1)
            continue
        video = videos.get(path.stem, path.with_suffix(".mp4"))
        recordings[path.stem] = table.recording(video, findings, thorough)
    for stem in sorted(set(videos) - set(recordings)):
        if VIDEO.fullmatch(stem):
            findings.error(
                "unlabelled-video", f"has no {stem}.csv with the columns of the tools", videos[stem]
            )
    if not recordings and not findings.found:
        findings.error("missing-file", "there must be tables such as train01.csv", root)
    return Reading(list(recordings.values()))


class _Table:
    """A table of tools: its lines, and which column is which tool; no columns where it is another table."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self.path = path
        self._lines = text_of(path, findings).splitlines()
        self._header = next(csv.reader(self._lines[:1]), [])
        found = [TOOLS.get(letters(name), -1) for name in self._header]
        self.columns: list[int] | None = found if max(found, default=-1) >= 0 else None
        if self.columns is not None:
            self._check_header(findings)

    def _check_header(self, findings: Findings) -> None:
        assert self.columns is not None
        for name, column in list(zip(self._header, self.columns, strict=True))[1:]:
            if column < 0:
                findings.error("unknown-label", f"the column {name!r} is no tool", self.path, 1)
        missing = [name for index, name in enumerate(FACTS.classes) if self.columns.count(index) != 1]
        if missing:
            said = f"there must be one column a tool, got none or two for: {', '.join(missing)}"
            findings.error("malformed", said, self.path, 1)
            self.columns = [-1] * len(self.columns)

    def recording(self, video: Path, findings: Findings, thorough: bool) -> Recording:
        """Return the presence at each second; `thorough` reads every row, else those of whole seconds."""
        rows = [number for number in range(1, len(self._lines)) if self._lines[number].strip()]
        first = self._frame(rows[0], findings) if rows else None
        if first is None:
            findings.error("malformed", "must have a row a frame below its header", self.path, 1)
        step = 1 if thorough else int(RATE / Fraction(FACTS.fps))
        presence = []
        for offset in range(0, len(rows) if first is not None else 0, step):
            marked = self._row(rows[offset], (first or 0) + offset, findings)
            if offset % int(RATE / Fraction(FACTS.fps)) == 0:
                presence.append(marked)
        split = "test" if self.path.stem.startswith("test") else "train"
        if self.path.stem.startswith(("val", "dev")):
            split = "val"
        return Recording(
            self.path.stem,
            video,
            self.path,
            split=split,
            presence=np.array(presence, dtype=np.int64).reshape(-1, len(FACTS.classes)),
            length=len(rows) / RATE,
            rate=RATE,
        )

    def _frame(self, number: int, findings: Findings) -> int | None:
        text = self._lines[number].split(",", 1)[0].strip()
        if text.isascii() and text.isdecimal():
            return int(text)
        findings.error("malformed", f"the frame must be a number, got {text!r}", self.path, number + 1)
        return None

    def _row(self, number: int, frame: int, findings: Findings) -> list[int]:
        fields = self._lines[number].split(",")
        marked = [0] * len(FACTS.classes)
        assert self.columns is not None
        if len(fields) != len(self.columns):
            said = f"a row must have {len(self.columns)} fields, got {len(fields)}"
            findings.error("malformed", said, self.path, number + 1)
            return marked
        found = self._frame(number, findings)
        if found is not None and found != frame:
            said = f"the frame must be {frame}, one more than before, got {found}"
            findings.error("malformed", said, self.path, number + 1)
        for name, text, column in zip(self._header, fields, self.columns, strict=True):
            if column >= 0:
                cell = CELLS.get(text.strip())
                if cell is None:
                    said = f"{name} must be 0 or 1, got {text.strip()!r}"
                    findings.error("malformed", said, self.path, number + 1)
                marked[column] = cell or 0
        return marked


ADAPTER = Adapter(FACTS, _read)
