# SPDX-License-Identifier: Apache-2.0
"""Predictions made by hand, without a model or a video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ophclip.evaluate.predictions import Predictions, VideoPrediction

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
    instruments = (
        np.zeros((length, 2), np.int64) if present is None else np.array(present, np.int64).reshape(length, 2)
    )
    scores = np.array(cosines if cosines is not None else np.zeros((length, 2)), dtype=np.float32).reshape(
        length, 2
    )
    return VideoPrediction(
        video_id=video_id,
        times_s=np.arange(length, dtype=np.float64),
        true_phases=np.array(truth, dtype=np.int64),
        true_instruments=instruments,
        phase_probabilities=np.eye(len(PHASES), dtype=np.float32)[list(phases)],
        instrument_scores=scores,
        instrument_probabilities=(scores > 0).astype(np.float32),
    )


def made(videos: Sequence[VideoPrediction], *, notes: Sequence[str] = ()) -> Predictions:
    """Return these videos as the predictions of a protocol."""
    facts = {
        "protocol": "zero-shot/frame/1",
        "dataset": "made",
        "data_sha256": "d" * 64,
        "weights": "w" * 16,
        "prompts": {"file": "own.toml", "version": 3, "sha256": "p" * 64, "variant": "all"},
        "fps": 1.0,
        "unit": "second",
        "source": "made by hand",
        "licence": "Apache-2.0",
        "notes": list(notes),
    }
    return Predictions(facts, PHASES, INSTRUMENTS, list(videos))
