# SPDX-License-Identifier: Apache-2.0
"""What happens in a video: a procedure, its phases in time, and which instruments work in each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Use:
    """An instrument at work from `start_s` to `end_s` (half open), seconds of the video."""

    instrument: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Segment:
    """A phase, or "idle", from `start_s` to `end_s` (half open), with the uses inside it."""

    phase: str
    start_s: float
    end_s: float
    instruments: tuple[Use, ...]


@dataclass(frozen=True)
class Timeline:
    """A video's course: segments in order, without holes, from 0 to `seconds`."""

    procedure: str
    seconds: float
    segments: tuple[Segment, ...]
    done_before: tuple[str, ...] = ()  # phases over before the video starts: the eye shows what they left
