# SPDX-License-Identifier: Apache-2.0
"""Micro-batches: the loss and the gradients of the whole batch, with the same dropout each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from run_configs import small
from torch import Tensor

from ophclip.corpus import Corpus
from ophclip.models import tiny
from ophclip.pretrain import PretrainConfig
from ophclip.pretrain.assembly import Parts, assemble
from ophclip.pretrain.clock import PhaseClock
from ophclip.pretrain.data import load_data
from ophclip.pretrain.step import StepResult
from ophclip.pretrain.world import World

CLIP_STEP, VIDEO_STEP = 4, 5


def assembled(config: PretrainConfig) -> Parts:
    return assemble(config, load_data(config), World(), PhaseClock("cpu"))


def one_step(config: PretrainConfig, step: int) -> tuple[StepResult, dict[str, Tensor]]:
    parts = assembled(config)
    result = parts.stepper.run(parts.reader.read(step))
    modules = {"model": parts.state.model, "heads": parts.state.objective}
    gradients = {
        f"{name}.{weight}": parameter.grad
        for name, module in modules.items()
        for weight, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    return result, gradients


@pytest.fixture
def without_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "TOKEN_DROPOUT", 0.0)


@pytest.mark.usefixtures("without_dropout")
@pytest.mark.parametrize("step", [CLIP_STEP, VIDEO_STEP])
@pytest.mark.parametrize("micro_batch", [1, 4, 5])
def test_micro_batches_give_the_loss_and_the_gradients_of_the_whole_batch(
    micro_batch: int, step: int, shapes_corpus: Corpus, features_cache: Path
) -> None:
    config = small(shapes_corpus, features_cache, learn_temperature=True, grad_clip=1e9)
    whole, expected = one_step(config, step)
    parts, found = one_step(small(shapes_corpus, features_cache, learn_temperature=True, grad_clip=1e9,
                                  micro_batch=micro_batch), step)  # fmt: skip
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
    assert parts.terms.keys() == whole.terms.keys()
    assert (len(whole.terms) > 1) == (step == VIDEO_STEP)  # retrieval is on
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert "model.log_scale" in expected


def test_a_micro_batch_is_embedded_again_with_the_same_dropout_and_views(
    shapes_corpus: Corpus, frames_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(
        shapes_corpus, frames_cache, micro_batch=4, ssl="simsiam", ssl_hidden=16, ssl_dim=16, ssl_bottleneck=8
    )
    parts = assembled(config)
    embedder = parts.stepper.embedder
    made: list[list[Tensor]] = []
    original = embedder._sides

    def noted(*args: object) -> list[Tensor]:
        sides = original(*args)  # type: ignore[arg-type]
        made.append([side.detach() for side in sides])
        return sides

    monkeypatch.setattr(embedder, "_sides", noted)
    parts.stepper.run(parts.reader.read(0))
    first, again = made[:3], made[3:]
    assert len(again) == 3
    assert [len(sides) for sides in again] == [4, 4, 4]  # clips, texts, and two views
    for sides, others in zip(first, again, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(sides, others, strict=True))
    assert not torch.equal(first[0][2], first[0][3])


def test_running_statistics_count_a_micro_batch_once(shapes_corpus: Corpus, frames_cache: Path) -> None:
    parts = assembled(small(shapes_corpus, frames_cache, micro_batch=6))
    parts.stepper.run(parts.reader.read(0))
    counts = {
        int(buffer)
        for name, buffer in parts.state.model.named_buffers()
        if name.endswith("num_batches_tracked")
    }
    assert counts == {2}


def test_what_is_random_depends_on_the_step_and_the_place(
    shapes_corpus: Corpus, features_cache: Path
) -> None:
    parts = assembled(small(shapes_corpus, features_cache))
    embedder, batch = parts.stepper.embedder, parts.reader.read(0)
    parts.state.model.train()
    first = embedder.embed(batch).sides[1]
    torch.rand(3)
    np.random.default_rng().random()
    assert torch.equal(embedder.embed(batch).sides[1], first)
