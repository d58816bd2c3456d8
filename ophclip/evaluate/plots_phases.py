# SPDX-License-Identifier: Apache-2.0
"""Phases of each video over time, truth above prediction; without time, what each class was taken for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate.plots import Axis, Chart, Row, Text, readable
from ophclip.evaluate.plots_colours import look, number_of
from ophclip.evaluate.plots_runs import BOX, Band, Run, condensed, runs_of, shapes
from ophclip.evaluate.predictions import UNSCORED, Predictions, VideoPrediction

HEIGHT = 32  # of a strip: truth, prediction, and a thin line where they differ
TRUTH, PREDICTION, WRONG = (0, 13), (14, 13), (28.5, 3)  # top and height
NUMBERED, ROOMY = 30, 60  # units: a run this wide has its number written in; one that has it on a phone too
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
MOST_TICKS = 8

Labels = NDArray[np.integer]


def phase_chart(predictions: Predictions, accuracies: dict[str, float | None]) -> Chart:
    """Return one row a video, the least accurate first; rows of a video are `1 / fps` apart.

    `accuracies` are those of metrics.json by video: the value of each row.
    """
    fps, names = float(predictions.facts["fps"]), predictions.phase_names
    longest = max((len(video.times_s) for video in predictions.videos), default=0) or 1
    ordered = worst_first(predictions.videos, accuracies)
    rows = [
        Row(
            name=video.video_id,
            marks=_ribbon_marks(video, names, fps, longest),
            texts=(*_numbers(_truth(video), TRUTH, longest), *_numbers(_scored(video), PREDICTION, longest)),
            value=accuracies.get(video.video_id),
            key=("phase", "by_video", video.video_id),
            spoken=_spoken(video, accuracies.get(video.video_id)),
        )
        for video in ordered
    ]
    return Chart(rows, HEIGHT, time_axis(longest / fps), seen_labels(predictions), names)


def class_chart(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> Chart:
    """Return one row a true class, the least often right first: what it was taken for, the right first."""
    table = np.array(confusion, dtype=np.int64).reshape(len(names), len(names))
    rows = []
    totals = table.sum(axis=1)
    for label in sorted(np.flatnonzero(totals).tolist(), key=lambda c: table[c, c] / totals[c]):
        counts = table[label]
        # The right answers first, so that their share is read from the left edge.
        order = sorted(np.flatnonzero(counts).tolist(), key=lambda c: (c != label, -counts[c]))
        said = np.repeat(order, counts[order])
        rows.append(_class_row(label, said, names))
    ticks = [(share / 4, f"{25 * share}") for share in range(5)]
    seen = np.flatnonzero(table.sum(axis=0) + table.sum(axis=1)).tolist()
    return Chart(rows, TRUTH[1], Axis(ticks, "percent of the class"), seen, names)


def worst_first(videos: Sequence[VideoPrediction], scores: dict[str, float | None]) -> list[VideoPrediction]:
    """Return the videos by rising score; those without one last."""

    def rank(video: VideoPrediction) -> tuple[bool, float, str]:
        score = scores.get(video.video_id)
        return score is None, score or 0.0, video.video_id

    return sorted(videos, key=rank)


def seen_labels(predictions: Predictions) -> list[int]:
    """Return the classes that occur in the truth or in the predictions."""
    seen = {int(c) for video in predictions.videos for c in np.unique([*_truth(video), *video.phases])}
    return sorted(seen - {UNSCORED})


def time_axis(duration_s: float) -> Axis:
    """Return an axis of a few round times; in minutes, and in minutes and seconds for a short one."""
    step = next((step for step in STEPS_S if duration_s <= MOST_TICKS * step), STEPS_S[-1])
    times = np.arange(0, duration_s + 1e-9, step)
    whole = step % 60 == 0
    ticks = [(float(t) / duration_s, f"{t / 60:g}" if whole else clock(t)) for t in times]
    return Axis(ticks, "minutes" if whole else "minutes:seconds")


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _ribbon_marks(video: VideoPrediction, names: Sequence[str], fps: float, longest: int) -> str:
    if not len(video.times_s):
        return ""
    truth, said = _truth(video), video.phases
    width = BOX * len(truth) / longest
    wrong = ((truth != said) & (truth != UNSCORED)).astype(np.int64)
    unscored = (truth == UNSCORED).astype(np.int64)

    def strip(labels: Labels, place: tuple[float, float], who: str) -> str:
        def title(run: Run) -> str:
            begin, end = (clock(row * len(truth) / len(shown) / fps) for row in (run.start, run.end))
            return f"{who}: {number_of(run.label)} {readable(names[run.label])}, {begin} to {end}"

        shown = condensed(labels)
        return shapes(
            runs_of(shown),
            Band(*place, width / len(shown)),
            lambda label: "" if label == UNSCORED else look(label),
            title,
            lambda label: f"{who}: {number_of(label)} {readable(names[label])}, briefly",
        )

    def plain(flags: Labels, place: tuple[float, float], style: str, title: str) -> str:
        shown = condensed(flags)
        band = Band(*place, width / len(shown))
        outline = "".join(band.piece(run) for run in runs_of(shown) if run.label)
        return f'<path class="{style}" d="{outline}"><title>{title}</title></path>' if outline else ""

    track = f'<rect class="track" width="{width:.1f}" height="{TRUTH[1]}"/>'
    return (
        track
        + strip(truth, TRUTH, "truth")
        + strip(said, PREDICTION, "predicted")
        + plain(unscored, PREDICTION, "veil", "not scored")
        + plain(wrong, WRONG, "mark", "truth and prediction differ")
    )


def _numbers(labels: Labels, place: tuple[float, float], longest: int) -> list[Text]:
    texts = []
    for run in runs_of(labels):
        width = BOX * (run.end - run.start) / longest
        if run.label != UNSCORED and width >= NUMBERED:
            style = f"number mid n{run.label}" + ("" if width >= ROOMY else " tight")
            middle = (run.start + run.end) / 2 / longest
            texts.append(Text(middle, place[0] + 10, str(number_of(run.label)), style))
    return texts


def _class_row(label: int, said: Labels, names: Sequence[str]) -> Row:
    def title(run: Run) -> str:
        count = run.end - run.start
        taken = (
            "right"
            if run.label == label
            else f"taken for {number_of(run.label)} {readable(names[run.label])}"
        )
        return f"{readable(names[label])}: {count} of {len(said)} {taken}"

    runs = runs_of(said)
    marks = shapes(
        runs, Band(*TRUTH, BOX / len(said)), look, title, lambda other: f"taken for {readable(names[other])}"
    )
    right = sum(run.end - run.start for run in runs if run.label == label)
    return Row(
        name=f"{number_of(label)} {readable(names[label])}",
        detail=f"{len(said):,}",
        marks=marks,
        texts=tuple(_numbers(said, TRUTH, len(said))),
        spoken=f"{readable(names[label])}: {right} of {len(said)} right",
    )


def _scored(video: VideoPrediction) -> Labels:
    """Return what the model said where it is scored."""
    return np.where(_truth(video) == UNSCORED, UNSCORED, video.phases)


def _spoken(video: VideoPrediction, accuracy: float | None) -> str:
    share = "not scored" if accuracy is None else f"{100 * accuracy:.0f} percent right"
    return f"phases of {video.video_id}, truth above prediction: {share}"


def _truth(video: VideoPrediction) -> Labels:
    assert video.true_phases is not None
    return video.true_phases
