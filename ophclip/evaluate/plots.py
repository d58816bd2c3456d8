# SPDX-License-Identifier: Apache-2.0
"""Figures of an evaluation as SVG text; the same numbers always give the same bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate.predictions import VideoPrediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.parse_math": False,  # a video id may hold dollar signs
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "ophclip",
    "svg.fonttype": "none",
}
INK, ACCENT, MUTED = "#1f2933", "#0b7285", "#adb5bd"
WIDTH = 9.9  # inches: as wide as the text of the report
MAX_RIBBONS, MAX_TIMELINES = 48, 6  # videos whose phases and instruments are drawn; the report says so
MAX_LABEL = 24  # characters of a video id: a longer one would leave no room for the axes


def _drawn(draw: Callable[Arguments, Figure]) -> Callable[Arguments, str]:
    """Run all of `draw` under STYLE, which texts read when they are made, and return its figure as SVG."""

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> str:
        import matplotlib

        buffer = io.StringIO()
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            # Text stays text in the SVG, so the reader's fonts serve the scripts that ours lacks.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            # Neither date nor version: the bytes depend on the numbers alone.
            draw(*args, **kwargs).savefig(
                buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
            )
        text = buffer.getvalue()
        return text[text.index("<svg") :]

    return drawn


def readable(key: str) -> str:
    """Return a class key as a person reads it."""
    return key.replace("_", " ")


def phase_colours(num_classes: int) -> NDArray[np.float64]:
    """Return one colour a class `[C + 1, 4]`; the last is for frames that are not scored."""
    import matplotlib

    wheel = [matplotlib.colormaps["tab20"](index) for index in (*range(0, 20, 2), *range(1, 20, 2))]
    colours = [wheel[index % len(wheel)] for index in range(num_classes)]
    return np.array([*colours, (0.93, 0.93, 0.93, 1.0)])


@_drawn
def confusion_figure(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Draw the confusion matrix, each row as shares of its true class; empty classes are left out."""
    counts = np.array(confusion, dtype=np.float64).reshape(len(names), len(names))
    shown = np.flatnonzero(counts.sum(axis=1)).tolist()
    if not shown:
        return _empty_figure("no frame is scored")
    counts = counts[shown]
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure, axes = _figure(1.2 + 0.26 * len(shown))
    axes.imshow(shares, cmap="GnBu", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(names)), [readable(name) for name in names], rotation=45, ha="right")
    axes.set_yticks(
        range(len(shown)), [f"{readable(names[c])} ({int(counts[r].sum())})" for r, c in enumerate(shown)]
    )
    for row, column in zip(*np.nonzero(shares >= 0.005), strict=True):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=6.5,
            color="white" if share > 0.6 else INK,
        )
    axes.set_xlabel("predicted (percent of the true class)")
    axes.set_ylabel("true (frames)")
    axes.tick_params(length=0)
    return figure


@_drawn
def ribbon_figure(predictions: Sequence[VideoPrediction], names: Sequence[str], fps: float) -> Figure:
    """Draw each video as two ribbons over time: the true phases, and below them the predicted ones."""
    from matplotlib.patches import Patch

    chosen = list(predictions)[:MAX_RIBBONS]
    colours = phase_colours(len(names))
    seen = {int(c) for p in chosen for c in (*np.unique(_truth(p)), *np.unique(p.phases)) if c >= 0}
    longest = max(len(prediction.times_s) for prediction in chosen) / fps
    figure, axes = _figure(1.3 + 0.3 * len(chosen))
    for row, prediction in enumerate(chosen):
        for offset, height, labels in ((0.0, 0.42, _truth(prediction)), (0.42, 0.34, prediction.phases)):
            extent = (0, len(labels) / fps, row + offset + height, row + offset)
            axes.imshow(colours[labels][None], extent=extent, aspect="auto", interpolation="nearest")
    axes.set_xlim(0, longest)
    axes.set_ylim(len(chosen) - 0.1, -0.1)
    axes.set_yticks(np.arange(len(chosen)) + 0.38, [_label(p) for p in chosen])
    axes.set_xlabel("seconds; upper ribbon: truth, lower ribbon: prediction, grey: not scored")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    legend = [Patch(color=colours[c], label=readable(names[c])) for c in sorted(seen)]
    figure.legend(handles=legend, loc="outside upper center", ncols=5, frameon=False)
    return figure


@_drawn
def class_figure(
    scores: dict[str, dict[str, Any]], metric: str, label: str, chance: str | None = None
) -> Figure:
    """Draw one bar a class, with its number of frames; a class without any is n/a, `chance` a tick on it."""
    names = list(scores)
    figure, axes = _figure(0.8 + 0.2 * len(names))
    for row, name in enumerate(names):
        value, frames = scores[name][metric], scores[name]["frames"]
        defined = value is not None and frames > 0
        axes.barh(row, value if defined else 0, color=ACCENT, height=0.62)
        axes.text(
            (value if defined else 0) + 0.01,
            row,
            f"{value:.2f}" if defined else "n/a",
            va="center",
            color=INK if defined else MUTED,
            fontsize=7,
        )
        if chance and scores[name][chance] is not None:
            axes.plot([scores[name][chance]] * 2, [row - 0.36, row + 0.36], color=INK, linewidth=1.2)
    axes.set_yticks(range(len(names)), [f"{readable(name)} ({scores[name]['frames']})" for name in names])
    axes.set_xlim(0, 1.06)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.tick_params(axis="y", length=0)
    return figure


@_drawn
def instrument_figure(predictions: Sequence[VideoPrediction], names: Sequence[str], fps: float) -> Figure:
    """Draw when each instrument is in view (bars) and how probable the model finds it (shade), by video."""
    chosen = list(predictions)[:MAX_TIMELINES]
    present = [c for c in range(len(names)) if any(_instruments(p)[:, c].any() for p in chosen)]
    columns = min(2, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, grid = _figures(0.5 + rows * (0.6 + 0.15 * len(present)), rows, columns)
    for axes, prediction in zip(grid, chosen, strict=False):
        _draw_instruments(axes, prediction, present, fps)
        axes.set_yticks(range(len(present)), [readable(names[c]) for c in present])
        axes.set_title(_label(prediction), fontsize=8, loc="left")
    for axes in grid[len(chosen) - columns : len(chosen)]:
        axes.set_xlabel("seconds")
    for axes in grid[len(chosen) :]:
        axes.set_visible(False)
    return figure


def _draw_instruments(axes: Axes, prediction: VideoPrediction, present: list[int], fps: float) -> None:
    duration = len(prediction.times_s) / fps
    axes.set_xlim(0, duration)
    if not present:
        return
    axes.imshow(
        prediction.instrument_probabilities[:, present].T,
        cmap="Blues",
        vmin=0,
        vmax=1,
        aspect="auto",
        extent=(0, duration, len(present) - 0.5, -0.5),
        interpolation="nearest",
    )
    for row, c in enumerate(present):
        edges = np.flatnonzero(np.diff(_instruments(prediction)[:, c], prepend=0, append=0)) / fps
        axes.hlines(np.full(len(edges) // 2, row), edges[::2], edges[1::2], color="#e8590c", linewidth=2)
    axes.tick_params(axis="y", length=0)


def _truth(prediction: VideoPrediction) -> NDArray[np.int64]:
    assert prediction.true_phases is not None
    return prediction.true_phases


def _instruments(prediction: VideoPrediction) -> NDArray[np.int64]:
    assert prediction.true_instruments is not None
    return prediction.true_instruments


def _label(prediction: VideoPrediction) -> str:
    video_id = prediction.video_id
    return video_id if len(video_id) <= MAX_LABEL else f"{video_id[: MAX_LABEL - 1]}…"


def _empty_figure(reason: str) -> Figure:
    figure, axes = _figure(0.6)
    axes.set_axis_off()
    axes.text(0.5, 0.5, reason, ha="center", va="center", color=MUTED)
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure, grid = _figures(height, 1, 1)
    return figure, grid[0]


def _figures(height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    # Without pyplot: nothing global, no window system.
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)
