# SPDX-License-Identifier: Apache-2.0
"""What is scored of an item: one label a row, and which of the item's frames stand behind it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ophclip.errors import UsageError
from ophclip.evaluate.datasets import Dataset, Item
from ophclip.evaluate.datasets.dataset import Clip

Pool = Literal["emb", "score"]
PoolOver = Literal["frame", "clip", "window"]
WINDOW_S = 5.0


@dataclass(frozen=True)
class Pooling:
    """Over which frames a row is pooled, and what: embeddings (`emb`) or the scores of frames (`score`)."""

    pool: Pool = "emb"
    over: PoolOver = "frame"
    window_s: float = WINDOW_S

    @property
    def name(self) -> str:
        """What the protocol's name says of it."""
        return "frame" if self.over == "frame" else f"{self.over}-{self.pool}"

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON types; what does not apply is null."""
        return {
            "pool_over": self.over,
            "pool": None if self.over == "frame" else self.pool,
            "window_s": self.window_s if self.over == "window" else None,
        }


@dataclass(frozen=True)
class Rows:
    """The rows of one item: labels, times, and the frames that each is pooled from.

    `spans` are half-open bounds of frames; `span_of` is the span of each row. Both are None where row t is
    frame t.
    """

    times_s: NDArray[np.float64]  # [T]
    phases: NDArray[np.int64] | None  # [T]
    instruments: NDArray[np.int64] | None  # [T, C]
    spans: NDArray[np.int64] | None = None  # [S, 2]
    span_of: NDArray[np.int64] | None = None  # [T]
    told: Counter[str] = field(default_factory=Counter)  # what a reader of the scores must know, counted

    def pooled(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean of frame values `[N, K]` over the frames of each row `[T, K]`."""
        if self.spans is None or self.span_of is None:
            return values[: len(self.times_s)]
        means = np.zeros((len(self.spans), values.shape[1]), dtype=np.float32)
        for number, (begin, end) in enumerate(self.spans):
            means[number] = values[begin:end].mean(axis=0)
        return means[self.span_of]


def check_pooling(data: Dataset, pooling: Pooling) -> None:
    """Refuse a pooling that a dataset cannot have.

    Raises:
        UsageError: it pools clips where there are none, or windows of pictures.
    """
    if pooling.over == "clip" and data.unit != "clip":
        raise UsageError(
            f"{data.name} labels every {data.unit}: it has no clips to pool over",
            remedy="pass --pool-over frame or window",
        )
    if pooling.over == "window" and data.unit == "picture":
        raise UsageError(f"{data.name} is of pictures, which have no time", remedy="pass --pool-over frame")
    if not (math.isfinite(pooling.window_s) and pooling.window_s > 0):
        raise UsageError(f"a window must last some time, got {pooling.window_s} s", remedy="pass 5, say")


def rows_of(item: Item, data: Dataset, num_frames: int, pooling: Pooling) -> Rows:
    """Return what is scored of an item with that many frames.

    Raises:
        UsageError: the video is shorter than its labels by more than a frame.
    """
    if data.unit == "clip" and pooling.over == "clip":
        return _clips(item, data.fps, num_frames)
    rows = _frames(item, data, num_frames)
    if pooling.over == "window":
        return _in_windows(rows, max(1, round(pooling.window_s * data.fps)))
    return rows


def _frames(item: Item, data: Dataset, num_frames: int) -> Rows:
    """One row a frame that has a label."""
    phases, instruments = item.phases, item.instruments
    if item.is_one_clip:
        assert phases is not None
        _refuse_empty(item, num_frames)
        phases = np.repeat(phases[:1], num_frames)
    labels = phases if phases is not None else instruments
    assert labels is not None
    told: Counter[str] = Counter()
    _refuse_short(item, num_frames, len(labels), data.fps)
    length = min(num_frames, len(labels))
    if length < len(labels):
        told["videos end one row before their labels; that row is not scored"] += 1
    if num_frames > length:
        told["frames come after the last label of their video; they are not scored"] += num_frames - length
    return Rows(
        np.arange(length) / data.fps,
        None if phases is None else phases[:length],
        None if instruments is None else instruments[:length],
        told=told,
    )


def _in_windows(rows: Rows, size: int) -> Rows:
    """Give each row the mean of the window that it lies in; windows follow each other without overlap."""
    length = len(rows.times_s)
    begins = np.arange(0, length, size)
    spans = np.stack([begins, np.minimum(begins + size, length)], axis=1)
    span_of = np.arange(length) // size
    return Rows(rows.times_s, rows.phases, rows.instruments, spans, span_of, rows.told)


def _clips(item: Item, fps: float, num_frames: int) -> Rows:
    _refuse_empty(item, num_frames)
    told: Counter[str] = Counter()
    spans = [_span(item, clip, fps, num_frames, told) for clip in item.clips]
    return Rows(
        np.array([clip.start_s for clip in item.clips]),
        np.array([clip.label for clip in item.clips], dtype=np.int64),
        None,
        np.array(spans, dtype=np.int64).reshape(-1, 2),
        np.arange(len(spans)),
        told,
    )


def _span(item: Item, clip: Clip, fps: float, num_frames: int, told: Counter[str]) -> tuple[int, int]:
    if clip.end_s is None:
        return 0, num_frames
    begin, end = math.ceil(clip.start_s * fps), math.ceil(clip.end_s * fps)
    _refuse_short(item, num_frames, end, fps)
    if end > num_frames:
        told["clips end after their video; they are pooled over the frames that are there"] += 1
        end = num_frames
    if begin >= end:
        told["clips lie between two frames; they take the one on screen as they begin"] += 1
        begin = min(math.floor(clip.start_s * fps), num_frames - 1)
        end = begin + 1
    return begin, end


def _refuse_short(item: Item, num_frames: int, num_labels: int, fps: float) -> None:
    if num_frames < num_labels - 1 or num_frames == 0:
        raise UsageError(
            f"video {item.video_id!r} lasts {num_frames / fps:g} s, its labels {num_labels / fps:g} s",
            remedy="fetch the video again: it is shorter than its labels",
        )


def _refuse_empty(item: Item, num_frames: int) -> None:
    if num_frames == 0:
        raise UsageError(f"video {item.video_id!r} has no frame", remedy="fetch the video again")
