# SPDX-License-Identifier: Apache-2.0
"""Estimate how long a build takes, from some seconds of the real work on videos drawn by their length."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ophclip import console
from ophclip.cache.encoder import Encoder, encode
from ophclip.cache.plan import Plan, Planned
from ophclip.video import FrameSource, plan_sampling, probe

NUM_SLICES = 8  # videos that the time is shared by, at least


@dataclass(frozen=True)
class Cost:
    """What one video cost: seconds of work a second of video, and the seconds of video worked on."""

    work_per_s: float
    video_s: float


def measure(
    plan: Plan, source: FrameSource, encoder: Encoder, *, seconds: float = 10.0, seed: int = 0
) -> None:
    """Probe, decode and encode for some `seconds`, and set `eta_s` of the plan.

    Videos are drawn with a chance that grows with their length, so that the mean of their costs is that of an
    hour of the whole. One that cannot be decoded is marked as unreadable.
    """
    costs: list[Cost] = []
    end = time.perf_counter() + seconds
    with console.progress("measure", None, "videos") as progress:
        for video in _drawn(plan.to_do, seed):
            left = end - time.perf_counter()
            if left <= 0:
                break
            try:
                costs.append(_cost(video, source, encoder, plan.fps, min(left, seconds / NUM_SLICES)))
            except Exception as error:  # as in a build, whatever it is ends that video alone
                video.reason, video.survey = f"decoding failed: {error}", None
            progress.advance()
    if costs:
        plan.eta_s = 3600 * plan.hours(plan.to_do) * sum(cost.work_per_s for cost in costs) / len(costs)
        plan.measured_s = sum(cost.video_s for cost in costs)


def _drawn(videos: Sequence[Planned], seed: int) -> list[Planned]:
    """Return the videos in a random order in which long ones tend to come first (Efraimidis, Spirakis)."""
    lengths = [max(video.survey.duration_s if video.survey else 0.0, 1e-3) for video in videos]
    keys = np.log(np.random.default_rng(seed).random(len(videos))) / np.asarray(lengths)
    return [videos[index] for index in np.argsort(-keys)]


def _cost(video: Planned, source: FrameSource, encoder: Encoder, fps: float, seconds: float) -> Cost:
    begin = time.perf_counter()
    info = probe(video.path)
    probed = time.perf_counter()
    rows, work_s = 0, 0.0
    for frames in source.read(info, plan_sampling(info, fps)):
        encode(encoder, frames)
        rows += len(frames)
        work_s = time.perf_counter() - probed
        if work_s > seconds:
            break
    video_s = min(rows / fps, info.duration_s) or 1 / fps
    return Cost((probed - begin) / max(info.duration_s, 1e-3) + work_s / video_s, video_s)
