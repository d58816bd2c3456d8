# SPDX-License-Identifier: Apache-2.0
"""Cataract-101: three tables with semicolons; a phase lasts from its start frame to the next one's."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from ophclip.evaluate.datasets.cat21 import FACTS as CAT21
from ophclip.evaluate.datasets.cat21 import SPELLINGS, letters
from ophclip.evaluate.datasets.delimited import rate, table, whole
from ophclip.evaluate.datasets.media import files_under, is_video, video_beside
from ophclip.evaluate.datasets.reading import Adapter, Facts, Findings, Published, Reading, Recording, Span

RATE = Fraction(25)  # for a videos.csv without the column FPS

FACTS = Facts(
    name="cataract101",
    title="Cataract-101",
    task="phase",
    unit="second",
    classes=CAT21.classes,
    licence="CC BY-NC 4.0",
    where="ITEC, University of Klagenfurt: datasets/ovid/cat-101",
    split="none official: all videos are scored; a probe draws its own by video, seeded",
    published=(Published("videos", 101),),
    prompts="cataract_phases.toml",
)


def _read(root: Path, findings: Findings, thorough: bool) -> Reading:
    phases = _phases(root / "phases.csv", findings)
    starts = _starts(root / "annotations.csv", phases, findings)
    recordings = []
    for video_id, (line, frames, fps) in _videos(root / "videos.csv", findings).items():
        video = video_beside(root / "videos" / f"case_{video_id}")
        if video_id not in starts:
            said = f"video {video_id} has no row in annotations.csv"
            findings.error("unlabelled-video", said, root / "videos.csv", line)
        spans = _spans(starts.pop(video_id, []), frames, fps, root / "annotations.csv", findings)
        name = f"case_{video_id}"
        length = frames / fps
        first = spans[0].line if spans else None
        recordings.append(
            Recording(name, video, root / "annotations.csv", first, spans=spans, length=length, rate=fps)
        )
    for video_id, rows in starts.items():
        said = f"video {video_id} is not in videos.csv"
        findings.error("unknown-video", said, root / "annotations.csv", rows[0][0])
    _find_strangers(root / "videos", {recording.path.stem for recording in recordings}, findings)
    return Reading(recordings)


def _videos(path: Path, findings: Findings) -> dict[str, tuple[int, int, Fraction]]:
    videos: dict[str, tuple[int, int, Fraction]] = {}
    for line, row in table(path, ("VideoID", "Frames"), findings, delimiter=";"):
        frames = whole(row["Frames"], "Frames", findings, path, line)
        fps = rate(row["fps"], "FPS", findings, path, line) if "fps" in row else RATE
        if row["VideoID"] in videos:
            first = videos[row["VideoID"]][0]
            said = f"VideoID must be unique, got {row['VideoID']!r} again (first on line {first})"
            findings.error("duplicate", said, path, line)
        elif frames is not None and fps is not None:
            videos[row["VideoID"]] = (line, frames, fps)
    return videos


def _phases(path: Path, findings: Findings) -> dict[str, int]:
    """Read the labels of the phase numbers; the numbers run from 1 but are not counted on."""
    phases: dict[str, int] = {}
    for line, row in table(path, ("Phase", "Meaning"), findings, delimiter=";"):
        known = SPELLINGS.get(letters(row["Meaning"]))
        if known is None:
            said = f"the meaning must be one of Cataract-101's phases, got {row['Meaning']!r}"
            findings.error("unknown-label", said, path, line)
        elif row["Phase"] in phases:
            findings.error("duplicate", f"phase {row['Phase']} has a second meaning", path, line)
        else:
            phases[row["Phase"]] = FACTS.classes.index(known)
    return phases


def _starts(path: Path, phases: dict[str, int], findings: Findings) -> dict[str, list[tuple[int, int, int]]]:
    """Return the rows of each video: line, start frame and label."""
    starts: dict[str, list[tuple[int, int, int]]] = {}
    for line, row in table(path, ("VideoID", "FrameNo", "Phase"), findings, delimiter=";"):
        frame = whole(row["FrameNo"], "FrameNo", findings, path, line)
        if row["Phase"] not in phases:
            said = f"phase {row['Phase']!r} is not in phases.csv"
            findings.error("unknown-label", said, path, line)
        elif frame is not None:
            starts.setdefault(row["VideoID"], []).append((line, frame, phases[row["Phase"]]))
    return starts


def _spans(
    rows: list[tuple[int, int, int]], frames: int, fps: Fraction, path: Path, findings: Findings
) -> tuple[Span, ...]:
    rows = sorted(rows, key=lambda row: (row[1], row[0]))
    ends = [*(frame for _, frame, _ in rows[1:]), frames][: len(rows)]
    spans = []
    for (line, frame, label), end in zip(rows, ends, strict=True):
        if frame >= frames:
            said = f"the phase must start before the video's {frames} frames end, got frame {frame}"
            findings.error("past-end", said, path, line)
        elif end == frame:
            findings.warning("overlap", f"another phase starts at the same frame {frame}", path, line)
        spans.append(Span(frame / fps, max(end, frame) / fps, label, line))
    return tuple(spans)


def _find_strangers(folder: Path, known: set[str], findings: Findings) -> None:
    for path in files_under(folder):
        if is_video(path) and path.stem not in known:
            findings.warning("unlabelled-video", "the video is not in videos.csv", path)


ADAPTER = Adapter(FACTS, _read)
