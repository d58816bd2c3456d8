# SPDX-License-Identifier: Apache-2.0
"""When each instrument is in view and when the model says so: a chart a video, a row an instrument."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate.plots import Axis, Chart, Row, readable
from ophclip.evaluate.plots_phases import clock, time_axis
from ophclip.evaluate.plots_runs import BOX, Band, Run, condensed, runs_of, shapes
from ophclip.evaluate.predictions import Predictions, VideoPrediction

HEIGHT = 16
TRUTH, REPORT = (0, 7), (8, 7)  # top and height
PRESENT = 0.5  # a probability above it says that the instrument is in view
IN_VIEW, HIT, FALSE = 1, 2, 3  # what a row shows; 0 is nothing
STYLES = ("", "true", "hit", "false")
WORDS = ("", "in view", "rightly reported", "falsely reported")

Labels = NDArray[np.integer]
Span = Callable[[Run, float], str]  # a run's place as words, given how many rows a label stands for


def timeline_chart(video: VideoPrediction, predictions: Predictions) -> Chart:
    """Return the instruments of one video that are in view or are reported, over time (or over pictures)."""
    pictures = predictions.facts["unit"] == "picture"
    present, reported = _truth(video), _reported(video)
    fps, rows = float(predictions.facts["fps"]), len(present)
    shown = np.flatnonzero(present.any(axis=0) | reported.any(axis=0)).tolist()

    def time_span(run: Run, scale: float) -> str:
        begin, end = (clock(row * scale / fps) for row in (run.start, run.end))
        return f"{begin} to {end}"

    when = _picture_span if pictures else time_span
    axis = picture_axis(rows) if pictures else time_axis(max(rows, 1) / fps)
    return Chart(
        [_row(predictions.instrument_names[c], present[:, c], reported[:, c], when) for c in shown],
        HEIGHT,
        axis,
    )


def mistakes(video: VideoPrediction) -> float | None:
    """Return the share of a video's decisions (rows x instruments) that are wrong; None without any."""
    present = _truth(video)
    return float((present != _reported(video)).mean()) if present.size else None


def picture_axis(count: int) -> Axis:
    """Return an axis that counts pictures from 1."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if count <= 8 * s)
    ticks = [((n + 0.5) / max(count, 1), str(n + 1)) for n in range(0, count, step)]
    return Axis(ticks, "picture")


def _row(name: str, present: Labels, reported: Labels, when: Span) -> Row:
    rows, found = len(present), int((present & reported).sum())
    kinds = np.where(reported, np.where(present, HIT, FALSE), 0)
    track = f'<rect class="track" width="{BOX}" height="{HEIGHT - 1}"/>'
    spoken = (
        f"{readable(name)}: in view in {int(present.sum())} of {rows}, reported in {int(reported.sum())}, "
        f"of which {found} rightly"
    )
    lines = _line(name, present * IN_VIEW, TRUTH, when) + _line(name, kinds, REPORT, when)
    return Row(name=readable(name), marks=track + lines, spoken=spoken)


def _line(name: str, kinds: Labels, place: tuple[int, int], when: Span) -> str:
    shown = condensed(kinds)
    scale = len(kinds) / len(shown)
    return shapes(
        runs_of(shown),
        Band(*place, BOX / len(shown)),
        lambda kind: STYLES[kind],
        lambda run: f"{readable(name)} {WORDS[run.label]}, {when(run, scale)}",
        lambda kind: f"{readable(name)} {WORDS[kind]}, briefly",
    )


def _picture_span(run: Run, scale: float) -> str:
    first, last = int(run.start * scale) + 1, int(run.end * scale)
    return f"picture {first}" if first >= last else f"pictures {first} to {last}"


def _truth(video: VideoPrediction) -> Labels:
    assert video.true_instruments is not None
    present: Labels = (video.true_instruments != 0).astype(np.int64)
    return present


def _reported(video: VideoPrediction) -> Labels:
    reported: Labels = (video.instrument_probabilities > PRESENT).astype(np.int64)
    return reported
