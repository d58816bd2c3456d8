# SPDX-License-Identifier: Apache-2.0
"""What became of each video of a build, and how the time was spent."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from ophclip import console

STAGES = ("probe", "decode", "encode", "write")


@dataclass(frozen=True)
class Outcome:
    """What became of one video; `known` marks a failure of an earlier run that was not tried again.

    `stage_seconds` is the work of each stage since the outcome before: its own, and that ahead of it.
    """

    video_id: str
    state: Literal["committed", "skipped", "failed"]
    num_frames: int = 0
    reason: str = ""
    known: bool = False
    stage_seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class BuildReport:
    """What a build did with each video; `failed` holds the reasons, `decoder` what decoded them.

    `not_retried` names those of `failed` that an earlier run found unreadable and this one left alone.
    `stage_seconds` adds up the work of every worker, not its waiting.
    """

    committed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_retried: list[str] = field(default_factory=list)
    num_frames: int = 0
    seconds: float = 0.0
    decoder: str = ""
    workers: int = 0
    stage_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def add(self, outcome: Outcome) -> None:
        """Count one video."""
        if outcome.state == "committed":
            self.committed.append(outcome.video_id)
        elif outcome.state == "skipped":
            self.skipped.append(outcome.video_id)
        else:
            self.failed[outcome.video_id] = outcome.reason
            if outcome.known:
                self.not_retried.append(outcome.video_id)
        self.num_frames += outcome.num_frames
        for stage, seconds in outcome.stage_seconds.items():
            self.stage_seconds[stage] += seconds

    def sort(self, ids: Iterable[str]) -> None:
        """Order all lists as `ids`: workers finish in any order."""
        rank = {video_id: number for number, video_id in enumerate(ids)}
        for names in (self.committed, self.skipped, self.not_retried):
            names.sort(key=rank.__getitem__)
        self.failed = dict(sorted(self.failed.items(), key=lambda entry: rank[entry[0]]))

    @property
    def shares(self) -> dict[str, float]:
        """The share of each stage in the work of all, the largest first; empty before any work."""
        total = sum(self.stage_seconds.values())
        ranked = sorted(self.stage_seconds.items(), key=lambda entry: -entry[1])
        return {stage: seconds / total for stage, seconds in ranked} if total else {}

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        rate = self.num_frames / self.seconds if self.seconds else 0.0
        return {
            **vars(self),
            "seconds": round(self.seconds, 3),
            "stage_seconds": {stage: round(seconds, 3) for stage, seconds in self.stage_seconds.items()},
            "bottleneck": next(iter(self.shares), None),
            "frames_per_s": round(rate, 1),
        }


class ReportedProgress:
    """Counts outcomes into a report while a line shows the rate, the bottleneck and the failures."""

    def __init__(self, report: BuildReport, progress: console.Progress) -> None:
        self._report, self._progress = report, progress
        self._start = time.perf_counter()

    def add(self, outcome: Outcome) -> None:
        """Count one video and show where the build stands."""
        self._report.add(outcome)
        self._report.seconds = time.perf_counter() - self._start
        self._progress.note(note(self._report))
        self._progress.advance()


def note(report: BuildReport) -> str:
    """Return the line beside the progress: frames a second, the stages, the slowest first, and failures."""
    parts = [f"{report.num_frames / max(report.seconds, 1e-9):,.0f} frames/s"]
    if report.shares:
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in report.shares.items())
        parts.append(f"bottleneck {shares}")
    if report.failed:
        parts.append(f"{len(report.failed)} failed")
    return "; ".join(parts)
