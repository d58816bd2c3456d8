# SPDX-License-Identifier: Apache-2.0
"""Which frame is on the screen at each sampled second: decided from packet times, before any decoding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ophclip.errors import OphclipError, UsageError
from ophclip.video.probe import VideoInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ROWS = 2_000_000  # 18 hours of every frame; a damaged time would ask for any number


@dataclass(frozen=True, eq=False)
class SamplingPlan:
    """The frames to decode, one per row; a frame that stays on the screen long is named more than once.

    All three are `[T]`. Seconds count from the start of the file, as a player shows them.
    """

    times_s: NDArray[np.float64]  # asked for: k / fps
    pts: NDArray[np.int64]  # of the frame on the screen then, in ticks of the stream
    frame_times_s: NDArray[np.float64]  # true presentation times of those frames

    def __len__(self) -> int:
        return len(self.pts)


def plan_sampling(info: VideoInfo, fps: float | Fraction) -> SamplingPlan:
    """Choose for every k / fps in the video's duration the last frame with pts <= t.

    Before the first frame (a late start) the first frame is taken. There are ceil(duration * fps) rows, at
    least one. The arithmetic is rational, so a frame that starts exactly at t is on the screen at t.

    Raises:
        UsageError: `fps` is not a positive finite number.
        OphclipError: there would be more than `MAX_ROWS`, as where a damaged file declares years.
    """
    rate = check_fps(fps)
    first, step = info.start / info.time_base, 1 / (rate * info.time_base)
    num_rows = max(1, math.ceil((info.end_pts - first) / step))
    if num_rows > MAX_ROWS:
        raise OphclipError(
            f"{info.path}: {info.duration_s:,.0f} s at {float(rate):g} fps are {num_rows:,} frames, "
            f"at most {MAX_ROWS:,} are taken",
            remedy="its times are damaged: remux it; or sample fewer frames a second",
        )
    denominator = math.lcm(first.denominator, step.denominator)
    offset, stride = int(first * denominator), int(step * denominator)
    ticks = np.asarray([(offset + k * stride) // denominator for k in range(num_rows)], dtype=np.int64)
    index = np.maximum(np.searchsorted(info.pts, ticks, side="right") - 1, 0)
    pts = info.pts[index]
    return SamplingPlan(
        times_s=np.arange(num_rows) / float(rate),
        pts=pts,
        frame_times_s=np.asarray((pts - float(first)) * float(info.time_base), dtype=np.float64),
    )


def check_fps(fps: float | Fraction) -> Fraction:
    """Return the sampling rate as a fraction.

    Raises:
        UsageError: it is not a positive finite number.
    """
    rate = Fraction(fps).limit_denominator(1_000_000) if math.isfinite(fps) else Fraction(0)
    if rate <= 0:
        raise UsageError(f"fps must be a positive number, got {fps}", remedy="pass frames per second, as 1.0")
    return rate
