# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from accuracy import assert_no_worse_than_torch, loss_and_gradients, relative_error, unit_rows
from torch import Tensor

from ophclip.ops import Level, contrastive_loss, hierarchical_contrastive_loss, reference

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
Lists = tuple[Tensor, Tensor, Tensor | None]


def lists(num_rows: int, num_columns: int, *, weighted: bool, seed: int = 0) -> Lists:
    """Between one and five positives a row, some of them twice."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 6, (num_rows,), generator=generator)
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    total = int(indptr[-1])
    indices = torch.randint(0, num_columns, (total,), generator=generator)
    weights = torch.rand(total, generator=generator) + 0.1 if weighted else None
    return indptr, indices, weights


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [10.0, 100.0])
@pytest.mark.parametrize(
    ("m", "n", "d", "offset"),
    [(1, 1, 1, 0), (1, 7, 5, 6), (33, 33, 64, 0), (252, 507, 123, 17), (300, 301, 1, 1), (15, 15, 769, 0)],
)
def test_symmetric_loss_and_gradients(
    dtype: torch.dtype, scale: float, m: int, n: int, d: int, offset: int
) -> None:
    a, b = unit_rows(m, d, 0, dtype), unit_rows(n, d, 1, dtype)
    assert_no_worse_than_torch(
        lambda *x: contrastive_loss(*x, offset=offset),
        lambda *x: reference.contrastive_loss(*x, offset=offset),
        a,
        b,
        torch.tensor(scale),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["logsum", "meanlog"])
@pytest.mark.parametrize("weighted", [False, True])
def test_several_positives_loss_and_gradients(dtype: torch.dtype, reduction: str, weighted: bool) -> None:
    a, b = unit_rows(52, 123, 0, dtype), unit_rows(207, 123, 1, dtype)
    positives = lists(52, 207, weighted=weighted)
    assert_no_worse_than_torch(
        lambda *x: contrastive_loss(*x, positives=positives, reduction=reduction),  # type: ignore[arg-type]
        lambda *x: reference.contrastive_loss(*x, positives=positives, reduction=reduction),
        a,
        b,
        torch.tensor(30.0),
    )


def test_a_list_of_one_is_the_same_under_both_reductions() -> None:
    a, b = unit_rows(9, 16, 0), unit_rows(12, 16, 1)
    own = (torch.arange(10), torch.arange(9) + 3, None)
    logsum, meanlog = (
        contrastive_loss(a, b, 10.0, positives=own, reduction=r)  # type: ignore[arg-type]
        for r in ("logsum", "meanlog")
    )
    torch.testing.assert_close(logsum, meanlog)


def test_two_shards_of_one_direction_make_the_symmetric_loss() -> None:
    a, b = unit_rows(10, 16, 0), unit_rows(10, 16, 1)
    own = [(torch.arange(6), torch.arange(5) + start, None) for start in (0, 5)]
    halves = [
        contrastive_loss(x[start : start + 5], y, 10.0, positives=own[start // 5])
        for x, y in ((a, b), (b, a))
        for start in (0, 5)
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), contrastive_loss(a, b, 10.0))


@pytest.mark.parametrize("workspace_mib", [1, 4, 64])
def test_blocks_of_any_size_give_the_same(workspace_mib: int) -> None:
    # 1,500 x 1,600 products take 9.2 MiB: many blocks, some blocks, one block.
    a, b = unit_rows(1500, 40, 0), unit_rows(1600, 40, 1)
    scale = torch.tensor(20.0)
    found = loss_and_gradients(
        lambda *x: contrastive_loss(*x, offset=50, workspace_mib=workspace_mib), a, b, scale
    )
    whole = loss_and_gradients(lambda *x: reference.contrastive_loss(*x, offset=50), a, b, scale)
    for one, other in zip(found, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_rows_need_not_be_contiguous() -> None:
    a = unit_rows(40, 64, 0)[::2, ::2]  # [20, 32]
    b = unit_rows(64, 40, 1).T[8:, ::2]  # [32, 32], columns first
    scale = torch.tensor(10.0)
    found = loss_and_gradients(contrastive_loss, a, b, scale)
    copied = loss_and_gradients(contrastive_loss, a.contiguous(), b.contiguous(), scale)
    assert all(torch.equal(one, other) for one, other in zip(found, copied, strict=True))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_run_and_thread_count_gives_the_same_bits(threads: int) -> None:
    a, b, scale = unit_rows(700, 300, 0), unit_rows(700, 300, 1), torch.tensor(14.0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        runs = [loss_and_gradients(contrastive_loss, a, b, scale) for _ in range(3)]
        torch.set_num_threads(1)
        runs.append(loss_and_gradients(contrastive_loss, a, b, scale))
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(one, other) for one, other in zip(run, runs[0], strict=True))


@pytest.mark.parametrize(("m", "n", "d"), [(0, 0, 4), (0, 5, 4), (3, 3, 0)])
def test_empty_problems_have_a_loss_and_gradients(m: int, n: int, d: int) -> None:
    inputs = (torch.zeros(m, d), torch.zeros(n, d), torch.tensor(10.0))
    found = loss_and_gradients(contrastive_loss, *inputs)
    expected = loss_and_gradients(reference.contrastive_loss, *inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden(poison: float) -> None:
    a, b = unit_rows(40, 8, 0), unit_rows(40, 8, 1)
    a[3, 2] = poison
    assert not torch.isfinite(contrastive_loss(a, b, 10.0))
    assert not torch.isfinite(reference.contrastive_loss(a, b, torch.tensor(10.0)))


@pytest.mark.parametrize("scale", [39.9, 40.1])
@pytest.mark.parametrize("workspace_mib", [1, 64])
def test_both_sides_of_the_bound_on_logits_are_exact(scale: float, workspace_mib: int) -> None:
    # Below 40 one shift serves all logits of unit rows; above it each row and column has its own.
    a, b = unit_rows(700, 24, 0), unit_rows(700, 24, 1)
    assert_no_worse_than_torch(
        lambda *x: contrastive_loss(*x, workspace_mib=workspace_mib),
        reference.contrastive_loss,
        torch.cat([a, -b]),  # opposite rows: logits reach both ends of the range
        torch.cat([a, b]),
        torch.tensor(scale),
    )


def test_large_logits_do_not_overflow() -> None:
    a = unit_rows(50, 16, 0)
    loss = contrastive_loss(100 * a, 100 * a, 100.0)
    assert torch.isfinite(loss)
    torch.testing.assert_close(loss, torch.tensor(0.0), atol=0.0625, rtol=0)  # float32 steps at a million


def test_without_gradients_only_the_loss_is_computed() -> None:
    a, b = unit_rows(20, 8, 0), unit_rows(20, 8, 1)
    with torch.no_grad():
        loss = contrastive_loss(a, b, 10.0)
    torch.testing.assert_close(loss, reference.contrastive_loss(a, b, torch.tensor(10.0)))
    assert not loss.requires_grad


def test_levels_are_weighted_and_told_apart() -> None:
    a, b = unit_rows(8, 16, 0).requires_grad_(), unit_rows(8, 16, 1)
    own = (torch.arange(9), torch.arange(8), None)
    levels = [Level(a, b, 10.0), Level(a, b, 5.0, weight=0.25, positives=own, reduction="meanlog")]
    total, each = hierarchical_contrastive_loss(levels)
    first = contrastive_loss(a, b, 10.0)
    second = contrastive_loss(a, b, 5.0, positives=own, reduction="meanlog")
    torch.testing.assert_close(each, torch.stack([first, second]).detach())
    torch.testing.assert_close(total, first + 0.25 * second)
    total.backward()  # type: ignore[no-untyped-call]
    (expected,) = torch.autograd.grad(first + 0.25 * second, a)
    torch.testing.assert_close(a.grad, expected)


def test_precision_says_how_to_multiply() -> None:
    a, b = unit_rows(30, 64, 0), unit_rows(30, 64, 1)
    rounded = contrastive_loss(a.bfloat16(), b.bfloat16(), 10.0)
    assert torch.equal(contrastive_loss(a, b, 10.0, precision="bf16"), rounded)
    assert torch.equal(contrastive_loss(a, b, 10.0, precision="fp32"), contrastive_loss(a, b, 10.0))


@pytest.mark.parametrize(("size", "dim"), [(300, 768), (513, 512)])
def test_gradients_are_as_good_as_those_of_plain_torch(size: int, dim: int) -> None:
    inputs = unit_rows(size, dim, 0), unit_rows(size, dim, 1), torch.tensor(14.3)
    found = loss_and_gradients(contrastive_loss, *inputs)
    plain = loss_and_gradients(reference.contrastive_loss, *inputs)
    truth = loss_and_gradients(reference.contrastive_loss, *(x.double() for x in inputs))
    for one, other, exact in zip(found[1:3], plain[1:3], truth[1:3], strict=True):
        assert relative_error(one, exact) <= 1.5 * relative_error(other, exact)


@pytest.mark.parametrize("scale", [14.3, 100.0])
def test_bfloat16_is_better_than_bfloat16_products_of_torch(scale: float) -> None:
    def plain_loss(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        logits = scale * (a @ b.T)  # rounds the products to bfloat16
        labels = torch.arange(a.shape[0])
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

    a, b = (unit_rows(200, 256, seed, torch.bfloat16) for seed in (0, 1))
    found = loss_and_gradients(contrastive_loss, a, b, torch.tensor(scale))
    plain = loss_and_gradients(plain_loss, a, b, torch.tensor(scale))
    truth = loss_and_gradients(
        reference.contrastive_loss, a.double(), b.double(), torch.tensor(scale).double()
    )
    for one, other, exact in zip(found, plain, truth, strict=True):
        assert relative_error(one, exact) <= relative_error(other, exact)


def test_gradients_add_up_and_scale_as_those_of_torch() -> None:
    def twice(loss: Callable[..., Tensor]) -> list[Tensor]:
        leaves = [unit_rows(9, 16, seed).requires_grad_() for seed in (0, 1)]
        value = loss(*leaves, torch.tensor(10.0))
        value.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        (3 * value).backward()  # type: ignore[no-untyped-call]
        return [leaf.grad for leaf in leaves if leaf.grad is not None]

    for one, other in zip(twice(contrastive_loss), twice(reference.contrastive_loss), strict=True):
        torch.testing.assert_close(one, other)


def test_a_gradient_given_away_is_not_given_twice() -> None:
    a, b = unit_rows(9, 16, 0).requires_grad_(), unit_rows(9, 16, 1)
    loss = contrastive_loss(a, b, 10.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert a.grad is not None
    before = a.grad.clone()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        loss.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(a.grad, before)


def test_second_derivatives_are_refused_rather_than_wrong() -> None:
    a, b = unit_rows(9, 16, 0).requires_grad_(), unit_rows(9, 16, 1)
    (gradient,) = torch.autograd.grad(contrastive_loss(a, b, 10.0), a, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()  # type: ignore[no-untyped-call]


def test_the_operator_follows_the_rules_of_torch() -> None:
    a, b = unit_rows(6, 8, 0).requires_grad_(), unit_rows(7, 8, 1).requires_grad_()
    scale = torch.tensor(10.0, requires_grad=True)
    listed, nothing = lists(6, 7, weighted=True), a.new_empty(0)
    for arguments in [
        ([a], [b], [scale], [nothing] * 3, [1], [False], 64, True),
        ([a, a], [b, b], [scale, scale], [*[nothing] * 3, *listed], [0, 0], [False, True], 64, True),
        ([a.detach()], [b.detach()], [scale.detach()], [nothing] * 3, [0], [False], 64, False),
    ]:
        torch.library.opcheck(torch.ops.ophclip.contrastive.default, arguments)


@pytest.mark.slow
def test_it_compiles_into_one_graph() -> None:
    def loss(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        return contrastive_loss(a, b, scale.exp()) + contrastive_loss(b, a, 5.0, positives=own)

    own = (torch.arange(7), torch.arange(6), None)
    inputs = (unit_rows(6, 8, 0), unit_rows(6, 8, 1), torch.tensor(2.0))
    compiled = torch.compile(loss, fullgraph=True)
    for one, other in zip(
        loss_and_gradients(compiled, *inputs), loss_and_gradients(loss, *inputs), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_memory_stays_within_the_workspace() -> None:
    # All products of 12,000 x 12,000 would take 549 MiB; inputs, gradients and packed copies take 6 MiB each.
    program = """
import resource, torch
from ophclip.ops import contrastive_loss
a, b = (torch.randn(12000, 128, requires_grad=True) for _ in range(2))
contrastive_loss(a[:64], b[:64], 1.0).backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
contrastive_loss(a, b, 0.1, workspace_mib=16).backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16 + 10 * 6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"a": torch.zeros(3)}, r"must be \[M, D\] and \[N, D\]"),
        ({"a": torch.zeros(3, 5)}, r"must be \[M, D\] and \[N, D\]"),
        ({"a": torch.zeros(3, 4, dtype=torch.float16)}, "must match"),
        ({"offset": 3}, "every row of a must match"),
        ({"offset": -1}, "every row of a must match"),
        ({"scale": torch.ones(2)}, "0-d tensor"),
        ({"reduction": "sum"}, "reduction must be"),
        ({"precision": "fp8"}, "precision must be"),
        ({"workspace_mib": 0}, "workspace_mib must be"),
        ({"positives": (torch.tensor([0, 1, 2]), torch.tensor([0, 1]), None)}, "must be indptr"),
        ({"positives": (torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1]), None)}, "at least one positive"),
        ({"positives": (torch.tensor([0, 2, 1, 2]), torch.tensor([0, 1]), None)}, "at least one positive"),
        ({"positives": (torch.arange(4), torch.tensor([0, 1, 5]), None)}, r"indices must lie in \[0, 5\)"),
        ({"positives": (torch.arange(4), torch.tensor([0, 1, -1]), None)}, r"indices must lie in \[0, 5\)"),
        ({"positives": (torch.arange(4), torch.arange(3), torch.ones(2))}, "weights must be"),
        ({"positives": (torch.arange(4), torch.arange(3).int(), None)}, "must be int64"),
        ({"positives": (torch.arange(4), torch.arange(3, device="meta"), None)}, "on the device of a"),
        ({"positives": (torch.arange(4), torch.arange(3), torch.ones(3, device="meta"))}, "device of a"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, object], says: str) -> None:
    arguments: dict[str, object] = {"a": torch.zeros(3, 4), "b": torch.zeros(5, 4), "scale": 1.0, **change}
    with pytest.raises(ValueError, match=says):
        contrastive_loss(**arguments)  # type: ignore[arg-type]


def test_no_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one Level"):
        hierarchical_contrastive_loss([])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_device_small_problems_equal_the_host(dtype: torch.dtype) -> None:
    a, b, scale = unit_rows(252, 123, 0, dtype), unit_rows(507, 123, 1, dtype), torch.tensor(20.0)
    found = loss_and_gradients(contrastive_loss, a.cuda(), b.cuda(), scale.cuda())
    expected = loss_and_gradients(contrastive_loss, a, b, scale)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=3e-2, atol=1e-3)
