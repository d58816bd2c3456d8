# SPDX-License-Identifier: Apache-2.0
"""The corpus: which videos there are, how each is titled, and what is said in the narrated ones.

A corpus is a folder with `videos.csv` and `clips.csv`. Paths in `videos.csv` are relative to the folder;
they may also be absolute, or lead out of it (`../downloads/a.mp4`), so that footage can stay where it is.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

from ophclip.corpus.tables import Problems, Row, parse_number, read_rows, write_rows
from ophclip.errors import OphclipError, UsageError

Kind = Literal["narrated", "silent"]

KINDS = ("narrated", "silent")
VIDEO_COLUMNS = ("video_id", "path", "kind", "title", "title_structured", "split")
CLIP_COLUMNS = ("clip_id", "video_id", "start_s", "end_s", "text")
LINEAGE_COLUMNS = ("start", "end", "text")
MAX_ID_BYTES = 200  # an id names files and folders; file systems end at 255 bytes

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Video:
    """One video file of the corpus; `path` is absolute, titles may be empty."""

    video_id: str
    path: Path
    kind: Kind
    title: str
    title_structured: str
    split: str


@dataclass(frozen=True)
class Clip:
    """What is said between two times of a narrated video, `0 <= start_s < end_s`."""

    clip_id: str
    video_id: str
    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Corpus:
    """Videos by id, in the order of the file, and the clips of the narrated ones."""

    root: Path
    videos: dict[str, Video]
    clips: list[Clip]

    def select(self, kind: Kind | None = None, split: str | None = None) -> list[Video]:
        """Return the videos of one kind and one split (None: of any), in the order of the file."""
        return [
            video
            for video in self.videos.values()
            if kind in (None, video.kind) and split in (None, video.split)
        ]

    def clips_of(self, video_id: str) -> list[Clip]:
        """Return the clips of one video, in the order of the file; empty for a video without any."""
        return list(self._clips_by_video.get(video_id, ()))

    def missing_files(self) -> list[Video]:
        """Return the videos whose file is not there; reading a corpus does not look at the files."""
        return [video for video in self.videos.values() if not video.path.is_file()]

    @cached_property
    def _clips_by_video(self) -> dict[str, list[Clip]]:
        clips: dict[str, list[Clip]] = {}
        for clip in self.clips:
            clips.setdefault(clip.video_id, []).append(clip)
        return clips


def read_corpus(path: Path) -> Corpus:
    """Read the corpus in the folder `path`; `clips.csv` may be absent where no video is narrated.

    Raises:
        UsageError: the folder is no corpus, or rows are bad (each named with its line number).
    """
    folder = Path(path)
    videos_file, clips_file = folder / "videos.csv", folder / "clips.csv"
    if not videos_file.is_file():
        raise UsageError(
            f"{folder} must be a corpus folder, got no videos.csv in it",
            remedy="make one with 'ophclip corpus simulate', or write videos.csv and clips.csv",
        )
    root = folder.absolute()
    videos = _read_videos(videos_file, root)
    narrated = any(video.kind == "narrated" for video in videos.values())
    clips = _read_clips(clips_file, videos) if narrated or clips_file.exists() else []
    return Corpus(root, videos, clips)


def write_corpus(corpus: Corpus, path: Path) -> None:
    """Write `videos.csv` and `clips.csv` into the folder `path`, made if it is missing.

    Each file is replaced whole, `videos.csv` last: without it the folder is no corpus. Paths inside the
    folder are written relative to it, others as absolute paths.

    Raises:
        UsageError: a record would not be read back as it is (bad time, duplicate id, ...).
        OphclipError: the files cannot be written.
    """
    _check_records(corpus)
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OphclipError(f"cannot make {folder}: {error.strerror}", remedy="pass another folder") from error
    clip_rows = (
        (clip.clip_id, clip.video_id, repr(float(clip.start_s)), repr(float(clip.end_s)), clip.text)
        for clip in corpus.clips
    )
    write_rows(folder / "clips.csv", CLIP_COLUMNS, clip_rows)
    video_rows = (
        (
            video.video_id,
            _stored_path(video, corpus.root, folder),
            video.kind,
            video.title,
            video.title_structured,
            video.split,
        )
        for video in corpus.videos.values()
    )
    write_rows(folder / "videos.csv", VIDEO_COLUMNS, video_rows)


def read_lineage_captions(path: Path) -> list[Clip]:
    """Read a caption file of the SurgVLP lineage: `start,end,text` in seconds, one file per video.

    The video id is the file's name without its suffix; clip ids are the video id with a running number.

    Raises:
        UsageError: the file is unreadable or rows are bad (each named with its line number).
    """
    path = Path(path)
    problems = Problems(path)
    clips: list[Clip] = []
    for row in read_rows(path, LINEAGE_COLUMNS, problems):
        start_s, end_s = (_parse_time(row, column, problems) for column in ("start", "end"))
        if start_s is None or end_s is None:
            continue
        clip = Clip(f"{path.stem}_{len(clips):05d}", path.stem, start_s, end_s, row.values["text"])
        if problem := clip_problem(clip, start="start", end="end"):
            problems.add(row.line, problem)
        clips.append(clip)
    problems.raise_if_any()
    return clips


def video_problem(video: Video) -> str | None:
    """Say what is wrong with a video's record ("X must R, got V"), or return None."""
    if problem := _id_problem("video_id", video.video_id):
        return problem
    if _CONTROL.search(str(video.path)):
        return f"path must have no control characters, got {str(video.path)!r}"
    if video.kind not in KINDS:
        return f"kind must be narrated or silent, got {video.kind!r}"
    if not video.split or video.split != video.split.strip():
        return f"split must name a split such as train or test, got {video.split!r}"
    return None


def clip_problem(clip: Clip, *, start: str = "start_s", end: str = "end_s") -> str | None:
    """Say what is wrong with a clip's record, or return None; `start` and `end` name its time columns."""
    if problem := _id_problem("clip_id", clip.clip_id):
        return problem
    if not (math.isfinite(clip.start_s) and math.isfinite(clip.end_s)):
        return f"{start} and {end} must be finite numbers, got {clip.start_s} and {clip.end_s}"
    if clip.start_s < 0:
        return f"{start} must be 0 or more, got {clip.start_s}"
    if clip.end_s <= clip.start_s:
        return f"{end} must be greater than {start}, got {clip.end_s} <= {clip.start_s}"
    if not clip.text.strip():
        return "text must say something, got an empty field"
    return None


def _read_videos(file: Path, root: Path) -> dict[str, Video]:
    problems = Problems(file)
    videos: dict[str, Video] = {}
    lines: dict[str, int] = {}
    for row in read_rows(file, VIDEO_COLUMNS, problems):
        values = row.values
        video = Video(
            values["video_id"],
            root / values["path"],
            cast(Kind, values["kind"]),
            values["title"],
            values["title_structured"],
            values["split"],
        )
        problem = video_problem(video)
        if not values["path"].strip():
            problem = problem or "path must name a video file, got an empty field"
        if video.video_id in lines:
            problem = problem or _repeated("video_id", video.video_id, lines[video.video_id])
        if problem:
            problems.add(row.line, problem)
        lines.setdefault(video.video_id, row.line)
        videos.setdefault(video.video_id, video)
    problems.raise_if_any()
    return videos


def _read_clips(file: Path, videos: dict[str, Video]) -> list[Clip]:
    problems = Problems(file)
    clips: list[Clip] = []
    lines: dict[str, int] = {}
    for row in read_rows(file, CLIP_COLUMNS, problems):
        start_s, end_s = (_parse_time(row, column, problems) for column in ("start_s", "end_s"))
        if start_s is None or end_s is None:
            continue
        clip = Clip(row.values["clip_id"], row.values["video_id"], start_s, end_s, row.values["text"])
        problem = clip_problem(clip) or _owner_problem(clip, videos)
        if clip.clip_id in lines:
            problem = problem or _repeated("clip_id", clip.clip_id, lines[clip.clip_id])
        if problem:
            problems.add(row.line, problem)
        lines.setdefault(clip.clip_id, row.line)
        clips.append(clip)
    problems.raise_if_any()
    return clips


def _check_records(corpus: Corpus) -> None:
    for video_id, video in corpus.videos.items():
        problem = video_problem(video)
        if video_id != video.video_id:
            problem = f"its key must be its video_id, got {video_id!r}"
        if problem:
            raise UsageError(f"video {video.video_id!r}: {problem}", remedy="mend the record before writing")
    seen: set[str] = set()
    for clip in corpus.clips:
        problem = clip_problem(clip) or _owner_problem(clip, corpus.videos)
        if clip.clip_id in seen:
            problem = "clip_id must be unique, got it twice"
        if problem:
            raise UsageError(f"clip {clip.clip_id!r}: {problem}", remedy="mend the record before writing")
        seen.add(clip.clip_id)


def _stored_path(video: Video, root: Path, folder: Path) -> str:
    path, base = root / video.path, folder.absolute()
    return (path.relative_to(base) if path.is_relative_to(base) else path).as_posix()


def _parse_time(row: Row, column: str, problems: Problems) -> float | None:
    value = parse_number(row.values[column])
    if value is None:
        problems.add(row.line, f"{column} must be a finite number of seconds, got {row.values[column]!r}")
    return value


def _id_problem(column: str, value: str) -> str | None:
    if not value.strip():
        return f"{column} must not be empty"
    if value != value.strip() or _CONTROL.search(value):
        return f"{column} must have no control characters and no space around it, got {value!r}"
    if "/" in value or "\\" in value or value in (".", ".."):
        return f"{column} must be a plain name without slashes, got {value!r}"
    if len(value.encode("utf-8", "replace")) > MAX_ID_BYTES:
        return f"{column} must be at most {MAX_ID_BYTES} bytes long, got {value[:40]!r}..."
    return None


def _owner_problem(clip: Clip, videos: dict[str, Video]) -> str | None:
    video = videos.get(clip.video_id)
    if video is None:
        return f"video_id must be one of videos.csv, got {clip.video_id!r}"
    if video.kind != "narrated":
        return f"a clip must belong to a narrated video, got the {video.kind} video {clip.video_id!r}"
    return None


def _repeated(column: str, value: str, line: int) -> str:
    return f"{column} must be unique, got {value!r} again (first on line {line})"
