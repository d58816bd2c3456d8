# SPDX-License-Identifier: Apache-2.0
"""Say what a build would do and take, before it: hours, bytes, time, and the files to look at first."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ophclip import console
from ophclip.cache.clock import default_deadline_s
from ophclip.cache.encoder import Encoder
from ophclip.cache.inputs import CacheInput, as_text
from ophclip.cache.journal import read_commits
from ophclip.cache.layout import DTYPES, METADATA
from ophclip.cache.looking import Looking
from ophclip.cache.survey import Survey, survey_file
from ophclip.errors import OphclipError
from ophclip.video import check_fps

PROCESSES_PER_CORE = 2  # which mostly wait for the disk
MAX_PROCESSES = 32
ROUNDING_S = 0.002  # containers round lengths to a millisecond
BLOCK = 4096  # bytes a file takes at least, and in multiples
TIME_BYTES, METADATA_BYTES, JOURNAL_BYTES = 32, 900, 600  # of a row's times, and of a video


@dataclass
class Planned:
    """One input: `survey` of a readable file, or the `reason` why it is none; frames and bytes to store."""

    video_id: str
    path: Path
    survey: Survey | None = None
    reason: str = ""
    warnings: list[str] = field(default_factory=list)
    frames: int = 0
    num_bytes: int = 0
    is_stored: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        facts: dict[str, Any] = {"video_id": self.video_id, "path": str(self.path), "frames": self.frames}
        facts |= {"bytes": self.num_bytes, "stored": self.is_stored, "warnings": self.warnings}
        if self.survey is None:
            return facts | {"reason": self.reason}
        survey = self.survey
        return facts | {
            "codec": survey.codec,
            "width": survey.width,
            "height": survey.height,
            "fps": round(survey.fps, 3),
            "duration_s": round(survey.duration_s, 3),
        }


@dataclass
class Plan:
    """What a build would do; `eta_s` is None where nothing was measured."""

    videos: list[Planned]
    fps: float
    free_bytes: int = 0
    eta_s: float | None = None
    measured_s: float = 0.0  # seconds of video that were decoded to estimate it

    @property
    def readable(self) -> list[Planned]:
        """The inputs that a build would store, also those that are stored already."""
        return [video for video in self.videos if video.survey is not None]

    @property
    def to_do(self) -> list[Planned]:
        """The inputs that a build has yet to store."""
        return [video for video in self.readable if not video.is_stored]

    @property
    def unreadable(self) -> list[Planned]:
        """The inputs that a build would list as failed."""
        return [video for video in self.videos if video.survey is None]

    @property
    def suspicious(self) -> list[Planned]:
        """The readable inputs with something to look at."""
        return [video for video in self.readable if video.warnings]

    @property
    def needed_bytes(self) -> int:
        """Bytes on disk of what is yet to be stored."""
        return sum(video.num_bytes for video in self.to_do)

    def hours(self, videos: Sequence[Planned]) -> float:
        """Return the hours that some videos last."""
        return sum(video.survey.duration_s for video in videos if video.survey) / 3600

    def groups(self) -> dict[str, dict[str, Any]]:
        """Return the number and hours of videos of each codec and size, most hours first."""
        members: dict[str, list[Planned]] = {}
        for video in self.readable:
            if video.survey is not None:
                name = f"{video.survey.codec} {video.survey.width}x{video.survey.height}"
                members.setdefault(name, []).append(video)
        hours = {name: round(self.hours(videos), 4) for name, videos in members.items()}
        ranked = sorted(members, key=lambda name: -hours[name])
        return {name: {"videos": len(members[name]), "hours": hours[name]} for name in ranked}

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON types."""
        return {
            "videos": len(self.videos),
            "readable": len(self.readable),
            "stored_already": len(self.readable) - len(self.to_do),
            "hours": round(self.hours(self.readable), 4),
            "hours_to_do": round(self.hours(self.to_do), 4),
            "fps": self.fps,
            "frames": sum(video.frames for video in self.readable),
            "frames_to_do": sum(video.frames for video in self.to_do),
            "bytes_to_do": self.needed_bytes,
            "bytes_free": self.free_bytes,
            "fits": self.needed_bytes <= self.free_bytes,
            "eta_s": None if self.eta_s is None else round(self.eta_s, 1),
            "measured_s": round(self.measured_s, 1),
            "groups": self.groups(),
            "unreadable": [video.as_dict() for video in self.unreadable],
            "suspicious": [video.as_dict() for video in self.suspicious],
        }


def plan_cache(
    inputs: Sequence[CacheInput],
    out: Path,
    *,
    encoder: Encoder,
    fps: float | Fraction,
    processes: int = 0,
    deadline_s: float | None = None,
) -> Plan:
    """Look at every input, without decoding more of it than one frame, and add up what a build would store.

    Frames are estimated from the lengths that containers declare. `out` may exist already: what it holds is
    not counted again. A file on which this takes more than `deadline_s` seconds, by default what a build
    would allow it, counts as unreadable. Nothing is written.

    Raises:
        UsageError: `fps` is not a positive number, or `out` is not a cache.
    """
    rate = float(check_fps(fps))
    plan = Plan(list(_look(inputs, processes, deadline_s)), rate, _free_bytes(out))
    commits = read_commits(out) if (out / METADATA).is_file() else {}
    for video in plan.readable:
        assert video.survey is not None
        commit = commits.get(video.video_id)
        video.is_stored = commit is not None and commit.source_size == video.survey.size
        video.frames = max(1, math.ceil((video.survey.duration_s - ROUNDING_S) * rate))
        video.num_bytes = _bytes_on_disk(video.frames, encoder)
        if 0 < video.survey.fps < rate:
            shown = f"shows {video.survey.fps:.3g} frames a second, fewer than {rate:g}: rows repeat"
            video.warnings.append(shown)
    _mark_copies(plan.readable)
    return plan


def _look(inputs: Sequence[CacheInput], processes: int, deadline_s: float | None) -> Iterator[Planned]:
    count = processes or min(MAX_PROCESSES, PROCESSES_PER_CORE * (os.cpu_count() or 1))
    allowed_s = _allowed_s if deadline_s is None else lambda _: deadline_s
    looking = Looking(inputs, _look_at, allowed_s=allowed_s, late=_hanging, dead=_crashing)
    with console.progress("plan", len(inputs), "videos") as progress:
        for planned in looking.results(count):
            progress.advance()
            yield planned


def _look_at(item: CacheInput) -> Planned:
    try:
        survey = survey_file(item.path)
    except Exception as error:  # whatever a hostile file provokes in FFmpeg is said of that file
        reason = error.message if isinstance(error, OphclipError) else f"{type(error).__name__}: {error}"
        return Planned(item.video_id, item.path, reason=as_text(reason))
    return Planned(item.video_id, item.path, survey, warnings=list(survey.warnings))


def _hanging(item: CacheInput, seconds: float) -> Planned:
    reason = f"{item.path}: hangs: its header and first packets were not read in {seconds:.4g} s"
    return Planned(item.video_id, item.path, reason=as_text(reason))


def _crashing(item: CacheInput, how: str) -> Planned:
    return Planned(item.video_id, item.path, reason=as_text(f"{item.path}: crashed its demuxer ({how})"))


def _allowed_s(item: CacheInput) -> float:
    try:
        return default_deadline_s(item.path.stat().st_size)
    except OSError:
        return default_deadline_s(0)


def _mark_copies(videos: Sequence[Planned]) -> None:
    first: dict[str, str] = {}
    for video in videos:
        assert video.survey is not None
        other = first.setdefault(video.survey.head_sha256, video.video_id)
        if other != video.video_id:
            video.warnings.append(f"seems to be a copy of {other}: equal size and first 64 KiB")


def _bytes_on_disk(num_rows: int, encoder: Encoder) -> int:
    rows = num_rows * math.prod(encoder.row_shape) * DTYPES[encoder.dtype].itemsize
    return _in_blocks(rows) + _in_blocks(METADATA_BYTES + TIME_BYTES * num_rows) + JOURNAL_BYTES


def _in_blocks(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK) * BLOCK


def _free_bytes(out: Path) -> int:
    folder = out.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return shutil.disk_usage(folder).free
