# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ophclip.ops import pack, repack, topk
from ophclip.ops.pack import PackPrecision


def rows(count: int, dim: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) + shift


@settings(max_examples=60, deadline=None)
@given(
    precision=st.sampled_from(["fp32", "bf16", "int8"]),
    count=st.integers(1, 100),
    dim=st.integers(1, 9),
    chosen=st.sets(st.integers(0, 99)),
    shift=st.sampled_from([0.0, 5.0]),
)
def test_a_repacked_base_is_searched_as_the_new_rows(
    precision: PackPrecision, count: int, dim: int, chosen: set[int], shift: float
) -> None:
    x = rows(count, dim, 0, shift)
    base = pack(x, precision)
    ids = torch.tensor([i for i in chosen if i < count], dtype=torch.int64)
    fresh = rows(len(ids), dim, 1)
    repack(base, fresh, ids)
    expected = x.clone()
    expected[ids] = fresh
    assert torch.equal(base.rows, expected)
    queries = rows(4, dim, 2)
    for ours, theirs in zip(
        topk(queries, base, count), topk(queries, pack(expected, precision), count), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_repacked_base_is_the_packed_new_rows_bit_for_bit(precision: PackPrecision) -> None:
    x = rows(45, 8, 0)  # without a centre; the last panel is partly empty
    base, fresh = pack(x, precision), rows(3, 8, 1)
    ids = torch.tensor([44, 0, 31])
    repack(base, fresh, ids)
    x[ids] = fresh
    expected = pack(x, precision).tensors()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in base.tensors().items())


def test_the_rows_that_were_packed_stay_as_they_were() -> None:
    x = rows(40, 8, 0)
    kept = x.clone()
    for precision in ("fp32", "int8"):
        repack(pack(x, precision), rows(1, 8, 1), torch.tensor([39]))  # type: ignore[arg-type]
    assert torch.equal(x, kept)


@pytest.mark.parametrize(
    ("x", "ids", "message"),
    [
        (torch.ones(2, 8), [1], "x must be"),
        (torch.ones(1, 7), [1], "x must be"),
        (torch.ones(1, 8), [40], "ids must lie"),
        (torch.ones(1, 8), [-1], "ids must lie"),
        (torch.full((1, 8), float("nan")), [1], "finite"),
    ],
)
def test_what_does_not_fit_is_refused(x: Tensor, ids: list[int], message: str) -> None:
    base = pack(rows(40, 8, 0), "int8")
    with pytest.raises(ValueError, match=message):
        repack(base, x, torch.tensor(ids))
    assert torch.equal(base.rows, rows(40, 8, 0))
