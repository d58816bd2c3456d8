# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import loss_oracle as oracle
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.losses import Rows, text_ids
from ophclip.pretrain.objective import Loss, Objective
from ophclip.pretrain.retrieval_terms import Live, Retrieved

DIM, TAU = 12, 0.1
SCALE = torch.tensor(1 / TAU)
REDUCTIONS = pytest.mark.parametrize("reduction", ["logsum", "meanlog"])


def embeddings(count: int, seed: int) -> Tensor:
    """Embeddings as towers give them: of any length."""
    return 3 * torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def objective(**changes: Any) -> Objective:
    config = PretrainConfig(corpus=Path("c"), cache=Path("k"), dim=DIM, ssl_hidden=16, ssl_dim=8)
    config = dataclasses.replace(config, ssl_bottleneck=4, **changes)
    return Objective(config, has_frames=changes.get("ssl", "none") not in ("none", "auto"))


def whole(rows: Tensor) -> Rows:
    return Rows.whole(rows.float())


def titled(*texts: str) -> Tensor:
    return text_ids(texts)


def found_by(slots: list[list[int]], num_slots: int = 6, texts: list[str] | None = None) -> Retrieved:
    keys, values = (torch.nn.functional.normalize(embeddings(num_slots, 20 + i), dim=1) for i in range(2))
    ids = None if texts is None else text_ids(texts)
    return Retrieved(torch.tensor(slots), keys.float(), values.float(), ids)


def assert_equals(value: Tensor, expected: float) -> None:
    torch.testing.assert_close(value.double(), torch.tensor(expected).double(), rtol=2e-5, atol=2e-6)


@REDUCTIONS
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("texts", [["a", "b", "c", "d"], ["a", "b", "a", "a"], ["a"] * 4])
def test_clips_and_narrations_are_contrasted_as_the_formula_says(
    texts: list[str], equal: bool, reduction: str
) -> None:
    a, b = embeddings(4, 0), embeddings(4, 1)
    how = {"reduction": reduction, "equal_texts": "positives" if equal else "negatives"}
    loss = objective(**how).clip_loss(whole(a), whole(b), titled(*texts), SCALE)
    assert_equals(loss.total, oracle.info_nce(a.numpy(), b.numpy(), TAU, texts, reduction, equal))
    assert_equals(loss.parts["clip"], loss.total.item())


def test_one_direction_leaves_texts_out_as_anchors() -> None:
    a, b = embeddings(5, 0), embeddings(5, 1)
    texts = ["a", "b", "c", "d", "a"]
    loss = objective(symmetric=False).clip_loss(whole(a), whole(b), titled(*texts), SCALE)
    assert_equals(loss.total, oracle.one_way(a.numpy(), b.numpy(), TAU, texts, "logsum", True))


def test_a_batch_of_one_has_nothing_to_tell_apart() -> None:
    a, b = whole(embeddings(1, 0)), whole(embeddings(1, 1))
    assert objective().clip_loss(a, b, titled("a"), SCALE).total.item() == pytest.approx(0, abs=1e-6)
    loss = objective().video_loss(a, b, titled("a"), SCALE, found_by([[2, 0]]))
    assert loss.parts["video"].item() == pytest.approx(0, abs=1e-6)
    assert loss.total.item() == pytest.approx(0, abs=1e-6)  # every candidate is a positive


def test_texts_are_equal_but_for_case_and_spacing() -> None:
    ids = text_ids(["The  disc", "the disc ", "the discs", "", " "])
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]
    assert ids[3] == ids[4]
    assert text_ids([]).shape == (0,)


SLOTS = [[4, 1], [1, 0], [4, -1]]
TITLES = ["phaco", "graft", "flap"]
SILENT = ["flap", "x", "y", "z", "w", "phaco"]


def expected_terms(
    slots: list[list[int]], reduction: str, equal: bool, weight: float = 1.0
) -> dict[str, float]:
    u, q, second = (embeddings(3, seed).numpy() for seed in range(3))
    found = found_by(slots)
    keys, values = found.titles.double().numpy(), found.videos.double().numpy()
    rest = (slots, TAU, TITLES, SILENT, reduction, equal, weight)
    return {
        "title_to_silent_video": oracle.retrieval(q, u, values, *rest),
        "video_to_silent_title": oracle.retrieval(u, q, keys, *rest),
        "video_to_silent_video": oracle.retrieval(u, second, values, *rest),
    }


@REDUCTIONS
@pytest.mark.parametrize("has_views", [True, False])
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("slots", [SLOTS, [[4, 4], [1, 4], [0, 0]], [[0, 1, 2, 3, 4, 5]] * 3])
def test_retrieved_videos_are_positives_as_the_formula_says(
    slots: list[list[int]], equal: bool, has_views: bool, reduction: str
) -> None:
    u, q, second = (whole(embeddings(3, seed)) for seed in range(3))
    made = objective(
        reduction=reduction,
        equal_texts="positives" if equal else "negatives",
        lambda_ret=0.6,
        retrieved_weight=0.5,
    )
    found = found_by(slots, texts=SILENT)
    loss = made.video_loss(u, q, titled(*TITLES), SCALE, found, second if has_views else None)
    expected = expected_terms(slots, reduction, equal, weight=0.5)
    if not has_views:
        del expected["video_to_silent_video"]
    for name, value in expected.items():
        assert_equals(loss.parts[name], value)
    plain = oracle.info_nce(embeddings(3, 0).numpy(), embeddings(3, 1).numpy(), TAU, TITLES, reduction, equal)
    assert_equals(loss.total, plain + 0.6 * sum(expected.values()) / len(expected))
    assert list(loss.parts) == ["video", *expected]


@pytest.mark.parametrize("found", [None, found_by([[-1, -1]] * 3), found_by([[]] * 3)])
def test_without_retrieved_videos_the_loss_is_info_nce(found: Retrieved | None) -> None:
    u, q = embeddings(3, 0), embeddings(3, 1)
    loss = objective().video_loss(whole(u), whole(q), titled(*TITLES), SCALE, found)
    assert_equals(loss.total, oracle.info_nce(u.numpy(), q.numpy(), TAU, TITLES))
    assert list(loss.parts) == ["video"]


def test_both_reductions_with_one_positive_are_info_nce() -> None:
    u, q = whole(embeddings(6, 0)), whole(embeddings(6, 1))
    ids = titled(*"abcdef")
    losses = [
        objective(reduction=reduction, symmetric=False).video_loss(u, q, ids, SCALE).total
        for reduction in ("logsum", "meanlog")
    ]
    torch.testing.assert_close(losses[0], losses[1])


def test_a_video_that_was_not_retrieved_for_being_the_same_is_no_negative() -> None:
    u, q = whole(embeddings(3, 0)), whole(embeddings(3, 1))
    found = found_by([[2], [3], [2]])
    same = (torch.tensor([0, 0, 2, 2]), torch.tensor([2, 5]))  # of row 1: slot 2, which others bring in
    marked = dataclasses.replace(found, same=same)
    retrieved = dataclasses.replace(found, slots=torch.tensor([[2, -1], [3, 2], [2, -1]]))
    ids = titled(*TITLES)
    as_same, as_retrieved, as_negative = (
        objective().video_loss(u, q, ids, SCALE, each).total for each in (marked, retrieved, found)
    )
    torch.testing.assert_close(as_same, as_retrieved)
    assert as_same < as_negative


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_fused_videos_are_the_video_and_the_mean_of_what_it_retrieved(beta: float) -> None:
    u, q = embeddings(3, 0), embeddings(3, 1)
    found = found_by(SLOTS)
    values = found.videos.double().numpy()
    mean = np.stack([np.mean([values[s] for s in row if s >= 0], axis=0) for row in SLOTS])
    fused = oracle.unit(u.numpy()) + beta * mean
    loss = objective(fuse="mean", fuse_beta=beta, lambda_ret=0.5).video_loss(
        whole(u), whole(q), titled(*TITLES), SCALE, found
    )
    assert list(loss.parts) == ["video", "fused"]
    assert_equals(loss.parts["fused"], oracle.info_nce(fused, q.numpy(), TAU, TITLES))
    assert_equals(loss.total, loss.parts["video"].item() + 0.5 * loss.parts["fused"].item())


def test_no_gradient_flows_into_the_bank() -> None:
    found = found_by(SLOTS)
    found.titles.requires_grad_()
    u, q = embeddings(3, 0).float().requires_grad_(), embeddings(3, 1).float().requires_grad_()
    loss = objective().video_loss(Rows.whole(u), Rows.whole(q), titled(*TITLES), SCALE, found)
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert u.grad is not None
    assert q.grad is not None
    assert found.titles.grad is None


def test_what_was_encoded_anew_stands_in_for_the_bank_and_gets_gradients() -> None:
    u, q = whole(embeddings(3, 0)), whole(embeddings(3, 1))
    fresh = [embeddings(2, seed).float().requires_grad_() for seed in (30, 31)]
    found = found_by(SLOTS, texts=SILENT)
    live = Live(torch.tensor([1, 4]), *fresh)
    titles, videos = found.titles.clone(), found.videos.clone()
    for bank, rows in zip((titles, videos), fresh, strict=True):
        bank[[1, 4]] = torch.nn.functional.normalize(rows.detach(), dim=1)
    ids = titled(*TITLES)
    expected = objective().video_loss(
        u, q, ids, SCALE, dataclasses.replace(found, titles=titles, videos=videos)
    )
    loss = objective().video_loss(u, q, ids, SCALE, dataclasses.replace(found, live=live))
    torch.testing.assert_close(loss.total, expected.total)
    for leaf in fresh:
        assert gradient_flows(loss, leaf)


def split(rows: Tensor, bounds: list[int]) -> list[Rows]:
    """What ranks hold of a batch; all ranks share one leaf, as if the gather brought gradients back."""
    return [Rows(rows[a:b], rows, a) for a, b in pairwise(bounds)]


MANY = ["a", "b", "a", "c", "d", "b", "e"]


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 7), max_size=3),
    reduction=st.sampled_from(["logsum", "meanlog"]),
    equal=st.sampled_from(["positives", "negatives"]),
    symmetric=st.booleans(),
    distinct=st.booleans(),
    kind=st.sampled_from(["clip", "simsiam", "simclr", "video", "views", "live", "fuse"]),
)
def test_the_ranks_losses_and_gradients_add_up_to_those_of_one_process(
    cuts: list[int], reduction: str, equal: str, symmetric: bool, distinct: bool, kind: str
) -> None:
    ssl = kind if kind in ("simsiam", "simclr") else "none"
    made = objective(
        reduction=reduction,
        equal_texts=equal,
        symmetric=symmetric,
        ssl=ssl,
        fuse="mean" if kind == "fuse" else "none",
    )
    texts = list("abcdefg") if distinct else MANY
    ids = text_ids(texts)
    found = found_by([[i % 6, (2 * i) % 5] if i != 3 else [-1, -1] for i in range(7)], texts=SILENT)

    def run(bounds: list[int]) -> tuple[Tensor, list[Tensor]]:
        made.zero_grad()
        leaves = [embeddings(7, seed).float().requires_grad_() for seed in range(4)]
        scale = SCALE.clone().requires_grad_()
        total = torch.zeros(())
        for a, b, c, d in zip(*(split(leaf, bounds) for leaf in leaves), strict=True):
            if kind in ("clip", "simsiam", "simclr"):
                loss = made.clip_loss(a, b, ids, scale, (c, d))
            else:
                live = (
                    Live(torch.tensor([0, 2, 3]), c.all[:3], d.all[:3]) if kind in ("live", "fuse") else None
                )
                retrieved = dataclasses.replace(found, live=live)
                loss = made.video_loss(a, b, ids, scale, retrieved, c if kind == "views" else None)
            total = total + loss.total
        total.backward()  # type: ignore[no-untyped-call]
        trained = [*leaves, scale, *made.parameters()]
        return total, [leaf.grad if leaf.grad is not None else torch.zeros(()) for leaf in trained]

    (one, one_grads), (many, many_grads) = run([0, 7]), run([0, *sorted(cuts), 7])
    torch.testing.assert_close(many, one, rtol=1e-5, atol=1e-5)
    for many_grad, one_grad in zip(many_grads, one_grads, strict=True):
        torch.testing.assert_close(many_grad, one_grad, rtol=1e-3, atol=2e-5)


def gradient_flows(loss: Loss, leaf: Tensor) -> bool:
    leaf.grad = None
    loss.total.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    return leaf.grad is not None and bool(leaf.grad.any())


def test_a_learned_temperature_gets_a_gradient_and_stays_within_its_bounds() -> None:
    log_scale = torch.tensor(3.0, requires_grad=True)
    made = objective(max_scale=50.0)
    loss = made.clip_loss(whole(embeddings(4, 0)), whole(embeddings(4, 1)), titled(*"abcd"), log_scale.exp())
    assert gradient_flows(loss, log_scale)
    for value, expected in ((9.0, 50.0), (-1.0, 1.0), (2.0, np.exp(2))):
        with torch.no_grad():
            log_scale.fill_(value)
        made.clamp_scale_(log_scale)
        assert log_scale.exp().item() == pytest.approx(expected)
    fixed = torch.tensor(9.0)
    made.clamp_scale_(fixed)
    assert fixed.item() == 9
