# SPDX-License-Identifier: Apache-2.0
"""What trains, what is frozen, and what is computed twice."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from ophclip.errors import UsageError
from ophclip.models import DualEncoder, ModelConfig, build_model

PAIRS = [("tiny", "tiny"), *itertools.product(("resnet", "vit"), ("bert", "clip"))]
SCOPES = ("full", "frozen", "last-1")
TEXTS = ["the phaco probe", "lens", "rhexis"]
BLOCKS = {"tiny": 4, "resnet": 3, "vit": 3, "clip": 3, "bert": 5}


def build(towers: dict[str, str], vision: str, text: str, **changes: object) -> DualEncoder:
    config = ModelConfig(vision=towers[vision], text=towers[text], dim=16, image_size=32, **changes)  # type: ignore[arg-type]
    return build_model(config, seed=1).train()


def frames() -> Tensor:
    return torch.rand(3, 2, 32, 32, 3, generator=torch.Generator().manual_seed(0))


def take_step(model: DualEncoder) -> Tensor:
    torch.manual_seed(5)  # dropout
    images, texts = model.embed_frames(frames()).mean(dim=1), model.embed_text(TEXTS)
    loss = nn.functional.cross_entropy(model.scale * images @ texts.T, torch.arange(3))
    loss.backward()
    return loss.detach()


def gradients(model: DualEncoder) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("vision", "text"), [("tiny", "tiny"), ("resnet", "bert"), ("vit", "clip"), ("clip", "bert")]
)
@pytest.mark.parametrize("scope", SCOPES)
def test_just_the_scope_gets_gradients_and_statistics(
    vision: str, text: str, scope: str, towers: dict[str, str]
) -> None:
    model = build(towers, vision, text, train_vision=scope, train_text=scope)
    before = copy.deepcopy(model.state_dict())
    take_step(model)
    reached = gradients(model)
    assert reached.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    for tower, blocks in ((model.vision, model.vision.blocks), (model.text, model.text.blocks)):
        assert len(blocks) == BLOCKS.get(vision if tower is model.vision else text) or text == "tiny"
        with_gradient = [any(p.grad is not None for p in block.parameters()) for block in blocks]
        trained = {"full": len(blocks), "frozen": 0, "last-1": 1}[scope]
        assert with_gradient == [False] * (len(blocks) - trained) + [True] * trained
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    trained_norms = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad
    }
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert moved == {f"{name}.{kind}" for name in trained_norms for kind in statistics}


@pytest.mark.parametrize(("vision", "text"), PAIRS)
@pytest.mark.parametrize("scope", SCOPES)
def test_recomputation_changes_neither_gradients_nor_statistics(
    vision: str, text: str, scope: str, towers: dict[str, str]
) -> None:
    changes = {"train_vision": scope, "train_text": scope}
    plain = build(towers, vision, text, **changes)
    again = build(towers, vision, text, **changes, recompute_activations=True)
    assert torch.equal(take_step(plain), take_step(again))
    expected, found = gradients(plain), gradients(again)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=lambda text, name=name: f"{name}: {text}")
    for name, value in plain.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_recomputation_keeps_fewer_activations(towers: dict[str, str]) -> None:
    def kept(recompute: bool) -> int:
        model = build(towers, "resnet", "bert", recompute_activations=recompute)
        sizes: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(0 if isinstance(tensor, nn.Parameter) else tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.embed_frames(frames())
        return sum(sizes)

    assert kept(recompute=True) < kept(recompute=False) / 3


def test_a_failure_while_recomputing_leaves_the_statistics_in_place(towers: dict[str, str]) -> None:
    model = build(towers, "resnet", "bert", recompute_activations=True)
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    buffer = norm.running_mean
    loss = model.embed_frames(frames()).sum()
    handle = norm.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("on purpose")))
    with pytest.raises(RuntimeError, match="on purpose"):
        loss.backward()
    handle.remove()
    assert norm.running_mean is buffer


def test_a_copy_of_a_recomputing_model_runs_its_own_weights(towers: dict[str, str]) -> None:
    model = build(towers, "vit", "bert", recompute_activations=True)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    twin.embed_frames(frames()).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in twin.vision.parameters())
    assert any(p.grad.abs().sum() > 0 for p in twin.vision.parameters())
    assert not gradients(model)


def test_frozen_parts_keep_no_graph_and_stay_in_evaluation(towers: dict[str, str]) -> None:
    model = build(towers, "resnet", "bert", train_vision="frozen", train_text="frozen")
    assert model.vision(frames().flatten(0, 1)).grad_fn is None
    assert model.text(TEXTS, 77).grad_fn is None
    assert not any(module.training for module in [*model.vision.modules(), *model.text.modules()])
    assert model.image_projection.training
    partly = build(towers, "resnet", "bert", train_vision="last-1", train_text="last-2")
    assert [block.training for block in partly.vision.blocks] == [False, False, True]
    assert not partly.vision.stem.training
    assert [block.training for block in partly.text.blocks] == [False] * 3 + [True] * 2
    assert not partly.eval().text.blocks[-1].training


def test_scope_does_not_change_what_a_model_computes(towers: dict[str, str]) -> None:
    plain = build(towers, "resnet", "bert").eval()
    partly = build(towers, "resnet", "bert", train_vision="last-2", train_text="frozen").eval()
    with torch.no_grad():
        assert torch.equal(plain.embed_frames(frames()), partly.embed_frames(frames()))
        assert torch.equal(plain.embed_text(TEXTS), partly.embed_text(TEXTS))


@pytest.mark.parametrize("scope", ["last-0", "last-", "last--1", "last-x", "some", "", "last-²"])
def test_a_scope_that_cannot_be_read_is_named(scope: str) -> None:
    with pytest.raises(UsageError, match="train_text must be full, frozen or last-n"):
        ModelConfig(train_text=scope)


def test_more_blocks_than_the_tower_has_are_an_error(towers: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="train_vision must be at most last-3"):
        build(towers, "resnet", "bert", train_vision="last-4")
