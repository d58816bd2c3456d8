# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ophclip.errors import UsageError
from ophclip.video import SamplingPlan, VideoInfo, check_fps, plan_sampling


def video(pts: list[int], end_pts: int, time_base: Fraction, start: Fraction | None = None) -> VideoInfo:
    return VideoInfo(
        path=Path("a.mp4"),
        codec="h264",
        stream_index=0,
        width=160,
        height=48,
        rotation=0,
        time_base=time_base,
        pts=np.asarray(pts, dtype=np.int64),
        end_pts=end_pts,
        keyframes=np.asarray(pts[:1], dtype=np.int64),
        start=pts[0] * time_base if start is None else start,
    )


def on_screen(info: VideoInfo, second: Fraction) -> int:
    """Return the pts of the frame on the screen `second` after the start: tried one by one."""
    shown = [int(pts) for pts in info.pts if pts * info.time_base <= info.start + second]
    return shown[-1] if shown else int(info.pts[0])


@st.composite
def videos(draw: st.DrawFn) -> VideoInfo:
    time_base = draw(
        st.sampled_from([Fraction(1, 1000), Fraction(1, 90000), Fraction(1, 25), Fraction(1001, 30000)])
    )
    tick = int(1 / time_base) // 25 or 1
    steps = draw(st.lists(st.integers(1, 8 * tick), max_size=30))
    first = draw(st.integers(-1000, 1000))
    pts = np.cumsum([first, *steps]).tolist()
    end_pts = pts[-1] + draw(st.integers(1, 8 * tick))
    late_by = Fraction(draw(st.integers(0, 3_000_000)), 1_000_000)
    return video(pts, end_pts, time_base, start=first * time_base - draw(st.sampled_from([0, late_by])))


RATES = st.one_of(
    st.sampled_from([Fraction(1), Fraction(2), Fraction(25), Fraction(24000, 1001), Fraction(1, 3)]),
    st.fractions(Fraction(1, 20), 60, max_denominator=1001),
)


@given(videos(), RATES)
def test_every_row_is_the_frame_on_the_screen_then(info: VideoInfo, fps: Fraction) -> None:
    plan = plan_sampling(info, fps)
    duration = info.end_pts * info.time_base - info.start
    assert len(plan) == max(1, math.ceil(duration * fps))
    assert plan.pts.tolist() == [on_screen(info, Fraction(k) / fps) for k in range(len(plan))]


@given(videos(), RATES)
def test_rows_carry_the_second_asked_for_and_the_true_one(info: VideoInfo, fps: Fraction) -> None:
    plan = plan_sampling(info, fps)
    assert plan.times_s.tolist() == pytest.approx([float(k / fps) for k in range(len(plan))])
    true_s = [float(int(pts) * info.time_base - info.start) for pts in plan.pts]
    assert plan.frame_times_s.tolist() == pytest.approx(true_s, abs=1e-9)
    in_the_future = plan.frame_times_s > plan.times_s + 1e-9
    assert set(plan.pts[in_the_future].tolist()) <= {int(info.pts[0])}


@given(videos(), RATES)
def test_time_does_not_run_backwards(info: VideoInfo, fps: Fraction) -> None:
    plan = plan_sampling(info, fps)
    assert (np.diff(plan.pts) >= 0).all()
    assert set(plan.pts.tolist()) <= set(info.pts.tolist())


def test_a_frame_that_starts_at_the_second_is_on_the_screen() -> None:
    thirds = video([0, 30000, 60000], 90000, Fraction(1, 90000))
    assert plan_sampling(thirds, 3).pts.tolist() == [0, 30000, 60000]
    tick_later = video([0, 30001, 60001], 90000, Fraction(1, 90000))
    assert plan_sampling(tick_later, 3).pts.tolist() == [0, 0, 30001]


def test_sampling_at_the_film_rate_takes_every_frame_once() -> None:
    film = video([1001 * k for k in range(500)], 1001 * 500, Fraction(1, 24000))
    assert plan_sampling(film, Fraction(24000, 1001)).pts.tolist() == film.pts.tolist()
    assert plan_sampling(film, 23.976023976023978).pts.tolist() == film.pts.tolist()  # the float of the same


def test_hours_of_film_do_not_drift() -> None:
    count = 10 * 3600 * 24
    film = video([1001 * k for k in range(count)], 1001 * count, Fraction(1, 24000))
    plan = plan_sampling(film, 1)
    assert len(plan) == 36036
    assert plan.pts[-1] == 1001 * (36035 * 24000 // 1001)


def test_before_a_late_first_frame_the_first_frame_is_taken() -> None:
    late = video([2000, 3000], 4000, Fraction(1, 1000), start=Fraction(0))
    plan = plan_sampling(late, 1)
    assert plan.pts.tolist() == [2000, 2000, 2000, 3000]
    assert plan.frame_times_s.tolist() == [2, 2, 2, 3]


def test_a_negative_start_is_second_zero() -> None:
    early = video([-500, 500], 1500, Fraction(1, 1000))
    plan = plan_sampling(early, 1)
    assert (plan.pts.tolist(), plan.frame_times_s.tolist()) == ([-500, 500], [0, 1])


def test_a_still_picture_is_one_row_however_short() -> None:
    assert len(plan_sampling(video([0], 1, Fraction(1, 90000)), 0.001)) == 1


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf, -math.inf, 1e-9, Fraction(0)])
def test_a_rate_that_is_not_positive_and_finite_is_refused(fps: float | Fraction) -> None:
    with pytest.raises(UsageError, match="fps must be a positive number"):
        check_fps(fps)
    with pytest.raises(UsageError):
        plan_sampling(video([0], 1, Fraction(1)), fps)


def test_a_rate_is_the_fraction_that_was_meant() -> None:
    assert check_fps(0.1) == Fraction(1, 10)
    assert check_fps(24000 / 1001) == Fraction(24000, 1001)
    assert check_fps(Fraction(30000, 1001)) == Fraction(30000, 1001)


def test_a_plan_is_as_long_as_its_rows() -> None:
    rows = np.arange(3)
    assert len(SamplingPlan(times_s=rows / 1.0, pts=rows, frame_times_s=rows / 1.0)) == 3
