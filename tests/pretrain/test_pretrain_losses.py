# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ophclip.ops import hierarchical_contrastive_loss
from ophclip.pretrain.losses import Named, info_nce, retrieval_levels, text_groups

SCALE = torch.tensor(10.0)


def rows(count: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


def total(named: Named) -> Tensor:
    return hierarchical_contrastive_loss([level for levels in named.values() for level in levels])[0]


def multi_positive(logits: Tensor, is_positive: Tensor) -> Tensor:
    positive = logits.masked_fill(~is_positive, -torch.inf)
    return (logits.logsumexp(1) - positive.logsumexp(1)).mean()


def test_distinct_texts_give_the_cross_entropy_of_clip() -> None:
    a, b = rows(6, 0), rows(6, 1)
    logits, target = 10 * a @ b.T, torch.arange(6)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    loss = total({"clip": info_nce(a, b, SCALE, torch.arange(6), "logsum")})
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("reduction", ["logsum", "meanlog"])
def test_equal_texts_are_positives_of_one_another(reduction: str) -> None:
    a, b = rows(4, 0), rows(4, 1)
    groups = text_groups(["The  disc", "the ring", "the disc", "a bar"])
    assert groups.tolist() == [0, 1, 0, 2]
    logits, own = 10 * a @ b.T, groups[:, None] == groups[None]
    if reduction == "logsum":
        expected = (multi_positive(logits, own) + multi_positive(logits.T, own)) / 2
    else:
        share = own / own.sum(1, keepdim=True)
        expected = torch.stack(
            [(s.logsumexp(1) - (share * s).sum(1)).mean() for s in (logits, logits.T)]
        ).mean()
    torch.testing.assert_close(total({"video": info_nce(a, b, SCALE, groups, reduction)}), expected)  # type: ignore[arg-type]


def test_a_slot_is_a_positive_of_those_that_retrieved_it_and_a_negative_of_others() -> None:
    titles, videos, keys, values = rows(3, 0), rows(3, 1), rows(5, 2), rows(5, 3)
    slots = torch.tensor([[4, 1], [1, 0], [4, 0]])
    named = retrieval_levels(titles, videos, slots, keys, values, SCALE, torch.arange(3), "logsum")
    distinct = [0, 1, 4]
    own = torch.eye(3, dtype=torch.bool)
    retrieved = torch.tensor([[False, True, True], [True, True, False], [True, False, True]])
    is_positive = torch.cat([own, retrieved], dim=1)
    expected = 0.5 * multi_positive(10 * titles @ torch.cat([videos, values[distinct]]).T, is_positive)
    expected += 0.5 * multi_positive(10 * videos @ torch.cat([titles, keys[distinct]]).T, is_positive)
    torch.testing.assert_close(total(named), expected)


def test_no_gradient_flows_into_the_bank() -> None:
    titles, videos = rows(2, 0).requires_grad_(), rows(2, 1).requires_grad_()
    keys, values = rows(3, 2), rows(3, 3)
    slots = torch.tensor([[0], [1]])
    loss = total(retrieval_levels(titles, videos, slots, keys, values, SCALE, torch.arange(2), "logsum"))
    loss.backward()  # type: ignore[no-untyped-call]
    assert titles.grad is not None
    assert videos.grad is not None
    assert not keys.requires_grad
    assert not values.requires_grad
