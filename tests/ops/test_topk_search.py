# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from accuracy import unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ophclip.ops import pack, topk

PRECISIONS = ["fp32", "bf16", "int8"]


def brute_force(queries: Tensor, base: Tensor, k: int, excluded: list[set[int]]) -> tuple[Tensor, Tensor]:
    """Sort (score, id) pairs computed in float64; scores that float32 cannot tell apart must not occur."""
    scores, ids = [], []
    for query, left_out in zip(queries.double(), excluded, strict=True):
        products = base.double() @ query
        order = sorted((i for i in range(len(base)) if i not in left_out), key=lambda i: (-products[i], i))
        missing = max(0, k - len(order))
        ids.append(order[:k] + [-1] * missing)
        scores.append([float(products[i]) for i in order[:k]] + [-torch.inf] * missing)
    return torch.tensor(scores).float(), torch.tensor(ids)


@settings(max_examples=60, deadline=None)
@given(
    num_queries=st.integers(1, 5),
    num_rows=st.integers(1, 150),
    dim=st.integers(1, 40),
    data=st.data(),
)
def test_small_integers_are_searched_exactly(
    num_queries: int, num_rows: int, dim: int, data: st.DataObject
) -> None:
    # Products of small integers are exact in float32, so ties are true ties, and there are many.
    seed = data.draw(st.integers(0, 1000))
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randint(-2, 3, (num_queries, dim), generator=generator).float()
    base = torch.randint(-2, 3, (num_rows, dim), generator=generator).float()
    k = data.draw(st.integers(1, num_rows))
    excluded = [
        data.draw(st.sets(st.integers(0, num_rows - 1), max_size=num_rows)) for _ in range(num_queries)
    ]
    indptr = torch.tensor([0, *torch.tensor([len(ids) for ids in excluded]).cumsum(0).tolist()])
    indices = torch.tensor([i for ids in excluded for i in ids], dtype=torch.int64)
    expected = brute_force(queries, base, k, excluded)
    for searched in (base, pack(base), pack(base, "int8")):
        found = topk(queries, searched, k, exclude=(indptr, indices))
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("q", "n", "d", "k"), [(1, 5000, 96, 10), (37, 5003, 123, 50), (300, 700, 64, 700)])
def test_every_precision_finds_what_float32_finds(precision: str, q: int, n: int, d: int, k: int) -> None:
    queries, base = unit_rows(q, d, 0), unit_rows(n, d, 1)
    scores, ids = topk(queries, pack(base, precision), k)  # type: ignore[arg-type]
    exact = queries.double() @ base.double().T
    torch.testing.assert_close(scores.double(), exact.gather(1, ids), atol=1e-6, rtol=0)
    assert bool((scores.diff(dim=1) <= 0).all())
    kth = exact.topk(k, dim=1).values[:, -1:]
    assert bool((exact.gather(1, ids) >= kth - 1e-6).all())  # none better was missed
    assert all(len(set(row)) == k for row in ids.tolist())


def test_equal_rows_come_by_their_ids() -> None:
    base = unit_rows(5, 300, 0).repeat(200, 1)
    _, ids = topk(base[:1], base, 200)
    assert ids[0].tolist() == list(range(0, 1000, 5))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    queries, base = unit_rows(3, 64, 0), unit_rows(20_000, 64, 1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = topk(queries, base, 20)
        torch.set_num_threads(1)
        alone = topk(queries, base, 20)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(found, alone, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_searched_as_they_are(dtype: torch.dtype) -> None:
    queries, base = unit_rows(4, 32, 0, dtype), unit_rows(500, 32, 1, dtype)
    found, expected = topk(queries, base, 7), topk(queries.float(), base.float(), 7)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(("q", "n", "k"), [(0, 5, 3), (4, 0, 0), (4, 5, 0)])
def test_nothing_to_find_gives_empty_results(q: int, n: int, k: int) -> None:
    scores, ids = topk(torch.zeros(q, 8), torch.zeros(n, 8), k)
    assert scores.shape == ids.shape == (q, k)


def test_rows_need_not_be_contiguous() -> None:
    base = unit_rows(100, 64, 0)
    found = topk(base[::3, ::2], base[:, ::2], 4)
    expected = topk(base[::3, ::2].contiguous(), base[:, ::2].contiguous(), 4)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"k": 6}, r"k must lie in \[0, 5\]"),
        ({"k": -1}, r"k must lie in \[0, 5\]"),
        ({"queries": torch.zeros(4)}, "queries must be a matrix"),
        ({"queries": torch.zeros(2, 3)}, "rows of one length"),
        ({"queries": torch.full((2, 4), torch.nan)}, "queries must be finite"),
        ({"base": torch.full((5, 4), torch.inf)}, "base must be finite"),
        ({"exclude": (torch.tensor([0, 1]), torch.tensor([0]))}, r"must be indptr \[3\]"),
        ({"exclude": (torch.tensor([0, 2, 1]), torch.tensor([0]))}, "must rise from 0 to P"),
        ({"exclude": (torch.tensor([0, 1, 1]), torch.tensor([5]))}, r"ids must lie in \[0, 5\)"),
        ({"exclude": (torch.tensor([0, 1, 1]), torch.tensor([0]).int())}, "must be int64"),
        ({"exclude": (torch.tensor([0, 1, 1]), torch.arange(1, device="meta"))}, "device of the queries"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, object], says: str) -> None:
    arguments: dict[str, object] = {"queries": torch.zeros(2, 4), "base": torch.zeros(5, 4), "k": 1, **change}
    with pytest.raises(ValueError, match=says):
        topk(**arguments)  # type: ignore[arg-type]


def test_a_base_that_is_not_finite_cannot_be_packed() -> None:
    with pytest.raises(ValueError, match="finite"):
        pack(torch.full((2, 2), torch.nan))
    with pytest.raises(ValueError, match="precision must be"):
        pack(torch.zeros(2, 2), "fp8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must be \[N, D\]"):
        pack(torch.zeros(2))


def test_the_operator_follows_the_rules_of_torch() -> None:
    queries, base = unit_rows(3, 8, 0), unit_rows(40, 8, 1)
    exclude = (torch.tensor([0, 1, 1, 3]), torch.tensor([4, 0, 39]))
    for arguments in [
        (queries, base, None, None, None, 40, 5, None, None),
        (queries, None, pack(base).panels, None, None, 40, 5, *exclude),
    ]:
        torch.library.opcheck(torch.ops.ophclip.topk.default, arguments)


@pytest.mark.gpu
@pytest.mark.parametrize("packed", [False, True])
def test_device_search_small_equals_the_host(packed: bool) -> None:
    queries, base = unit_rows(20, 72, 0), unit_rows(500, 72, 1, torch.bfloat16)
    on_device = pack(base.cuda()) if packed else base.cuda()
    scores, ids = topk(queries.cuda(), on_device, 7)  # float32 beside bfloat16: neither is rounded
    expected, expected_ids = topk(queries, base, 7)
    torch.testing.assert_close(scores.cpu(), expected)
    assert torch.equal(ids.cpu(), expected_ids)


@pytest.mark.gpu
@pytest.mark.parametrize("which", ["queries", "base"])
def test_device_search_small_refuses_what_is_not_finite(which: str) -> None:
    parts = {"queries": unit_rows(20, 72, 0).cuda(), "base": unit_rows(500, 72, 1).cuda()}
    parts[which][3, 5] = float("nan")
    with pytest.raises(ValueError, match=f"{which} must be finite"):
        topk(parts["queries"], parts["base"], 7)
