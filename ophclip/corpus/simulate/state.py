# SPDX-License-Identifier: Apache-2.0
"""What the eye has gone through at a time of the video: how far each phase is, and who is at work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from ophclip.corpus.simulate.procedures import IDLE, Timeline, Use

REACH_S = 0.45  # an instrument comes in before its use and leaves after it: unlabelled, away from the eye


@dataclass(frozen=True)
class Handling:
    """An instrument in sight: `progress` of its use, and `reach` 0 (out of the field) to 1 (at work)."""

    instrument: str
    phase: str
    progress: float
    reach: float
    elapsed_s: float
    seed: int
    hand: int  # 0 the leading hand, 1 the other


@dataclass(frozen=True)
class EyeState:
    """The state at one time; `done[phase]` is 0 before, 1 after, and counts all segments of the phase."""

    time_s: float
    procedure: str
    phase: str
    done: Mapping[str, float]
    handlings: tuple[Handling, ...]


def state_at(timeline: Timeline, time_s: float) -> EyeState:
    """Return what the eye and the instruments are like at a time of the video."""
    phase = IDLE
    spent: dict[str, float] = defaultdict(float)
    total: dict[str, float] = defaultdict(float)
    handlings: list[Handling] = []
    for index, part in enumerate(timeline.segments):
        length = part.end_s - part.start_s
        total[part.phase] += length
        spent[part.phase] += min(max(time_s - part.start_s, 0.0), length)
        if part.start_s <= time_s < part.end_s:
            phase = part.phase
        for order, use in enumerate(part.instruments):
            overlaps = any(
                other.start_s < use.end_s - 0.2 and use.start_s < other.end_s - 0.2
                for other in part.instruments[:order]
            )
            hand = int(overlaps)
            if handling := _handling(use, part.phase, time_s, index * 8 + order, hand):
                handlings.append(handling)
    done = {name: spent[name] / total[name] for name in total if total[name] > 0}
    done |= dict.fromkeys(timeline.done_before, 1.0)
    return EyeState(time_s, timeline.procedure, phase, done, tuple(handlings))


def _handling(use: Use, phase: str, time_s: float, seed: int, hand: int) -> Handling | None:
    if not use.start_s - REACH_S < time_s < use.end_s + REACH_S or use.end_s <= use.start_s:
        return None
    before, after = (use.start_s - time_s) / REACH_S, (time_s - use.end_s) / REACH_S
    reach = 1 - min(max(before, after, 0.0), 1.0)
    progress = min(max((time_s - use.start_s) / (use.end_s - use.start_s), 0.0), 1.0)
    return Handling(use.instrument, phase, progress, reach, max(0.0, time_s - use.start_s), seed, hand)
