# SPDX-License-Identifier: Apache-2.0
"""Datasets and predictions made by hand, without a model or a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ophclip.evaluate.datasets import Dataset, Item
from ophclip.evaluate.scores import VideoPrediction

PHASES = ["incision", "rhexis", "phaco"]
INSTRUMENTS = ["keratome", "forceps"]


def predicted(
    video_id: str,
    truth: Sequence[int],
    phases: Sequence[int],
    *,
    present: Sequence[Sequence[int]] | None = None,
    cosines: Sequence[Sequence[float]] | None = None,
) -> VideoPrediction:
    """Return a video whose phases and cosines are as given; an instrument is probable where it is > 0."""
    length = len(truth)
    instruments = np.zeros((length, 2), np.int64) if present is None else np.array(present)
    scores = np.array(cosines if cosines is not None else np.zeros((length, 2)), dtype=np.float32)
    return VideoPrediction(
        item=Item(video_id, Path(f"{video_id}.mp4"), np.array(truth, dtype=np.int64), instruments),
        times_s=np.arange(length, dtype=np.float64),
        phase_probabilities=np.eye(len(PHASES), dtype=np.float32)[list(phases)],
        instrument_cosines=scores,
        instrument_probabilities=(scores > 0).astype(np.float32),
    )


def dataset_of(predictions: Sequence[VideoPrediction], *, notes: Sequence[str] = ()) -> Dataset:
    """Return the dataset that these predictions are of."""
    return Dataset(
        name="made",
        items=[prediction.item for prediction in predictions],
        phase_names=PHASES,
        instrument_names=INSTRUMENTS,
        source="made by hand",
        licence="Apache-2.0",
        notes=list(notes),
    )
