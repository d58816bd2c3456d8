# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ophclip.evaluate.prompts import Prompts
from ophclip.evaluate.rows import Rows
from ophclip.evaluate.zero_shot import ClassTexts, embed_classes, score_rows
from ophclip.models import DualEncoder, load_model


@pytest.fixture(scope="module")
def model(untrained_run: Path) -> DualEncoder:
    return load_model(untrained_run)


def unit_rows(count: int, dim: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def texts_of(phases: np.ndarray) -> ClassTexts:
    nothing = np.zeros((0, phases.shape[1]), dtype=np.float32)
    return ClassTexts(phases, nothing, nothing)


def class_probabilities(frames: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return texts_of(classes).score(frames).phase_probabilities


def test_probabilities_are_a_softmax_over_a_hundred_times_the_cosine() -> None:
    frames, classes = unit_rows(7, 16), unit_rows(5, 16, seed=1)
    expected = torch.softmax(
        100 * torch.from_numpy(frames).double() @ torch.from_numpy(classes).double().T, 1
    )
    np.testing.assert_allclose(class_probabilities(frames, classes), expected.numpy(), atol=1e-5)


def test_opposite_frames_do_not_overflow() -> None:
    classes = unit_rows(2, 8)
    found = class_probabilities(1e3 * classes, classes)
    assert np.isfinite(found).all()
    assert found.argmax(axis=1).tolist() == [0, 1]


def test_several_sentences_of_a_class_are_averaged_after_normalising_each(model: DualEncoder) -> None:
    texts = ["corneal incision", "the keratome enters the clear cornea at the limbus"]
    rows = F.normalize(model.embed_text(texts).detach().double(), dim=1)
    expected = F.normalize(rows.mean(0), dim=0)
    found = embed_classes(model, [texts, ["rhexis"]])
    np.testing.assert_allclose(found[0], expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    # The long sentence would weigh more if the sum were taken before normalising.
    unequal = F.normalize(model.embed_text(texts).detach().mean(0), dim=0).numpy()
    assert not np.allclose(found[0], unequal, atol=1e-4)


def test_an_instrument_is_present_where_its_sentences_beat_those_of_its_absence(model: DualEncoder) -> None:
    prompts = Prompts([["keratome"], ["forceps"]], [["no keratome"], ["no forceps"]])
    positive, negative = embed_classes(model, prompts.positives), embed_classes(model, prompts.negatives)
    frames = np.stack([positive[0], negative[0], positive[1], negative[1]])
    found = ClassTexts.embed(model, Prompts([], []), prompts).score(frames)
    cosines, probability = found.instrument_scores, found.instrument_probabilities
    np.testing.assert_allclose(cosines, frames @ positive.T, atol=1e-6)
    assert (probability > 0.5).tolist() == (frames @ positive.T > frames @ negative.T).tolist()
    assert probability[0, 0] > 0.5 > probability[1, 0]


def test_a_task_without_classes_gives_no_scores(model: DualEncoder) -> None:
    frames = unit_rows(4, 32)
    assert class_probabilities(frames, embed_classes(model, [])).shape == (4, 0)
    found = ClassTexts.embed(model, Prompts([], []), Prompts([], [])).score(frames)
    assert found.instrument_scores.shape == found.instrument_probabilities.shape == (4, 0)


def rows_in(*spans: tuple[int, int]) -> Rows:
    return Rows(
        np.arange(len(spans), dtype=np.float64),
        np.zeros(len(spans), np.int64),
        None,
        np.array(spans, dtype=np.int64),
        np.arange(len(spans)),
    )


def test_pooling_embeddings_averages_and_normalises() -> None:
    frames, classes = unit_rows(6, 16), unit_rows(3, 16, seed=1)
    found = score_rows(texts_of(classes), rows_in((0, 4), (3, 6)), frames, "emb").phase_probabilities
    for row, (begin, end) in enumerate([(0, 4), (3, 6)]):
        mean = frames[begin:end].mean(axis=0)
        expected = class_probabilities((mean / np.linalg.norm(mean))[None], classes)
        np.testing.assert_allclose(found[row], expected[0], atol=1e-5)


def test_pooling_scores_averages_probabilities() -> None:
    frames, classes = unit_rows(6, 16), unit_rows(3, 16, seed=1)
    found = score_rows(texts_of(classes), rows_in((0, 4), (3, 6)), frames, "score").phase_probabilities
    single = class_probabilities(frames, classes)
    np.testing.assert_allclose(found, [single[:4].mean(0), single[3:].mean(0)], atol=1e-6)
    other = score_rows(texts_of(classes), rows_in((0, 4), (3, 6)), frames, "emb").phase_probabilities
    assert not np.allclose(found, other, atol=1e-3)
