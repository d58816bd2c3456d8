# SPDX-License-Identifier: Apache-2.0
"""Zero-shot recognition: frames against sentences, nothing trained.

The protocol is that of the SurgVLP lineage: normalised embeddings, scores scaled by 100, a softmax over
classes, the best class of each frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ophclip.evaluate.prompts import Prompts
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


def class_probabilities(frames: Scores, classes: Scores) -> Scores:
    """Return softmax(100 * frames @ classes.T) `[T, C]` of normalised frames `[T, D]`."""
    return _softmax(SCALE * frames @ classes.T)


def presence_scores(model: DualEncoder, frames: Scores, prompts: Prompts) -> tuple[Scores, Scores]:
    """Score each instrument of each frame: cosine `[T, C]` and probability of presence `[T, C]`.

    The cosine to the positive sentences ranks frames; the probability is a softmax over the positive and
    the negative sentences of the class, so above one half says "present".
    """
    positive = frames @ embed_classes(model, prompts.positives).T
    negative = frames @ embed_classes(model, prompts.negatives).T
    probability = _softmax(SCALE * np.stack([negative, positive], axis=-1))[..., 1]
    return positive.astype(np.float32), probability


def _softmax(logits: NDArray[np.floating]) -> Scores:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    probabilities: Scores = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    return probabilities
