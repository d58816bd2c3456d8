# SPDX-License-Identifier: Apache-2.0
"""Zero-shot recognition: frames against sentences, nothing trained.

The protocol is that of the SurgVLP lineage: normalised embeddings, scores scaled by 100, a softmax over
classes, the best class of each frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ophclip.evaluate.prompts import Prompts
from ophclip.evaluate.rows import Pool, Rows
from ophclip.models import DualEncoder

SCALE = 100.0

Scores = NDArray[np.float32]


def embed_classes(model: DualEncoder, sentences: Sequence[Sequence[str]]) -> Scores:
    """Embed each class as the normalised mean of its normalised sentence embeddings: `[C, D]`."""
    if not sentences:
        return np.zeros((0, model.dim), dtype=np.float32)
    with torch.inference_mode():
        rows = [
            F.normalize(F.normalize(model.embed_text(list(texts)).float(), dim=1).mean(0), dim=0)
            for texts in sentences
        ]
    stacked: Scores = torch.stack(rows).cpu().numpy()
    return stacked


@dataclass(frozen=True)
class ClassTexts:
    """The embedded sentences of all classes of both tasks; texts are encoded once for all items."""

    phases: Scores  # [C, D]
    present: Scores  # [I, D], that an instrument is there
    absent: Scores  # [I, D], that it is not

    @classmethod
    def embed(cls, model: DualEncoder, phases: Prompts, instruments: Prompts) -> ClassTexts:
        """Embed the sentences of both tasks."""
        return cls(
            embed_classes(model, phases.positives),
            embed_classes(model, instruments.positives),
            embed_classes(model, instruments.negatives),
        )

    def score(self, frames: Scores) -> FrameScores:
        """Score normalised frames `[T, D]`: one product with all sentences."""
        cosines = frames @ np.concatenate([self.phases, self.present, self.absent]).T
        phases, present, absent = np.split(cosines, np.cumsum([len(self.phases), len(self.present)]), axis=1)
        # The cosine to the positive sentences ranks frames; above one half the probability says "present".
        presence = _softmax(SCALE * np.stack([absent, present], axis=-1))[..., 1]
        return FrameScores(_softmax(SCALE * phases), present, presence)


@dataclass(frozen=True)
class FrameScores:
    """Softmax over phases `[T, C]`; cosine to an instrument's sentences and its probability `[T, I]`."""

    phase_probabilities: Scores
    instrument_scores: Scores
    instrument_probabilities: Scores


def score_rows(texts: ClassTexts, rows: Rows, frames: Scores, pool: Pool) -> FrameScores:
    """Score the rows of an item by its normalised frames `[N, D]`.

    `emb` pools embeddings and normalises the mean; `score` pools the scores of frames.
    """
    if rows.spans is None:
        return texts.score(rows.pooled(frames))
    if pool == "emb":
        return texts.score(unit_rows(rows.pooled(frames)))
    found = texts.score(frames)
    return FrameScores(
        rows.pooled(found.phase_probabilities),
        rows.pooled(found.instrument_scores),
        rows.pooled(found.instrument_probabilities),
    )


def unit_rows(values: Scores) -> Scores:
    """Return rows `[T, D]` scaled to length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    scaled: Scores = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
    return scaled


def _softmax(logits: NDArray[np.floating]) -> Scores:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    probabilities: Scores = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    return probabilities
