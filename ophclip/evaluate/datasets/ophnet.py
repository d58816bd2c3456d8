# SPDX-License-Identifier: Apache-2.0
"""OphNet2024: one CSV of clips in seconds over all videos; the names of its ids come from a file of yours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ophclip.evaluate.datasets.delimited import number, table
from ophclip.evaluate.datasets.media import videos_by_stem
from ophclip.evaluate.datasets.reading import BACKGROUND, Findings, Reading, Recording, Span

SPLITS = ("train", "val", "test")
NAMES = "labels.csv"  # id,name,prompt: published as a spreadsheet only, and corrected since
LICENCE = "CC BY-NC-SA 4.0"
WHERE = "Hugging Face: xioamiyh/OphNet2024 (videos on request); CSV from OphNet-benchmark"


def ophnet_reader(file: str, column: str, others: int) -> Callable[[Path, Findings, bool], Reading]:
    """Return a reader of the CSV `file`, whose labels are in `column`; the id `others` is background."""

    def read(root: Path, findings: Findings, thorough: bool) -> Reading:
        names = _names(root / NAMES, others, findings)
        labels = {number: index for index, number in enumerate(names)} | {others: BACKGROUND}
        videos = videos_by_stem(root, findings)
        rows = _Rows(root / file, column, labels, findings)
        recordings = []
        for video_id, spans in rows.spans.items():
            video = videos.get(video_id, root / "videos" / f"{video_id}.mp4")
            recordings.append(
                Recording(video_id, video, rows.path, spans[0].line, rows.splits[video_id], tuple(spans))
            )
        for stem in sorted(set(videos) - set(rows.spans)):
            findings.note("unlabelled-video", f"the video has no row in {file}", videos[stem])
        return Reading(recordings, phases=tuple(names.values()), prompts=str(root / NAMES))

    return read


def _names(path: Path, others: int, findings: Findings) -> dict[int, str]:
    """Return the class keys by id, in the order of ids, without the background."""
    if not path.is_file():
        said = "must name the label ids (columns id,name,prompt); write it from the dataset's label sheet"
        findings.error("unnamed-label", said, path)
        return {}
    names: dict[int, str] = {}
    for line, row in table(path, ("id", "name"), findings):
        label = int(row["id"]) if row["id"].isascii() and row["id"].isdecimal() else None
        key = row["name"].casefold()
        if label is None or not key:
            findings.error("malformed", f"id must be a number with a name, got {row['id']!r}", path, line)
        elif label in names:
            findings.error("duplicate", f"id {label} has a second name", path, line)
        elif key in names.values():
            findings.error("duplicate", f"the name {row['name']!r} is there twice", path, line)
        else:
            names[label] = key
    names.pop(others, None)
    return dict(sorted(names.items()))


class _Rows:
    """The rows of the CSV by video, in the order of the file."""

    def __init__(self, path: Path, column: str, labels: dict[int, int], findings: Findings) -> None:
        self.path, self._column, self._labels, self._findings = path, column, labels, findings
        self.spans: dict[str, list[Span]] = {}
        self.splits: dict[str, str] = {}
        for line, row in table(path, ("video_id", "start", "end", "split", column), findings):
            self._add(line, row)

    def _add(self, line: int, row: dict[str, str]) -> None:
        start = number(row["start"], "start", self._findings, self.path, line)
        end = number(row["end"], "end", self._findings, self.path, line)
        label = self._label(line, row[self._column])
        if start is None or end is None or label is None or not self._has_sound_split(line, row):
            return
        if end < start:
            said = f"end must not precede start, got {row['start']} to {row['end']}"
            self._findings.error("malformed", said, self.path, line)
            return
        self.spans.setdefault(row["video_id"], []).append(Span(start, end, label, line))

    def _label(self, line: int, text: str) -> int | None:
        if not (text.isascii() and text.isdecimal()):
            said = f"{self._column} must be a number, got {text!r}"
            self._findings.error("malformed", said, self.path, line)
            return None
        label = self._labels.get(int(text))
        if label is None:
            said = f"{self._column} {text} has no name in {NAMES}"
            self._findings.error("unnamed-label", said, self.path, line)
        return label

    def _has_sound_split(self, line: int, row: dict[str, str]) -> bool:
        if row["split"] not in SPLITS or not row["video_id"]:
            said = f"a row must have a video_id and a split of {', '.join(SPLITS)}, got {row['split']!r}"
            self._findings.error("unknown-split", said, self.path, line)
            return False
        known = self.splits.setdefault(row["video_id"], row["split"])
        if known != row["split"]:
            said = f"the split must stay {known} within {row['video_id']}, got {row['split']}"
            self._findings.error("unknown-split", said, self.path, line)
        return known == row["split"]
