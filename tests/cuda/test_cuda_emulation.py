# SPDX-License-Identifier: Apache-2.0
"""The portable CUDA kernels under emulation on the CPU, against float64."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from cuda_calls import (
    Positives,
    assert_close_to_float64,
    call_contrastive,
    call_topk,
    expected_contrastive,
    expected_topk,
    integer_rows,
    random_positives,
    relative_error,
    unit_rows,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def _portable_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPHCLIP_CUDA_PATH", "portable")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("num_rows", "dim"), [(1, 1), (2, 8), (37, 24), (131, 33)])
def test_symmetric_loss_and_gradients_match_float64(
    emulated: ModuleType, generator: torch.Generator, dtype: torch.dtype, num_rows: int, dim: int
) -> None:
    a, b = (unit_rows(num_rows, dim, generator, dtype) for _ in range(2))
    assert_close_to_float64(emulated, a, b, 10.0, grad_loss=0.7)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_errors_do_not_exceed_those_of_plain_torch_in_that_dtype(
    emulated: ModuleType, generator: torch.Generator, dtype: torch.dtype
) -> None:
    a, b = (unit_rows(96, 64, generator, dtype) for _ in range(2))
    actual = call_contrastive(emulated, a, b, 20.0)
    expected = expected_contrastive(a, b, 20.0)
    eager = expected_contrastive(a, b, 20.0, dtype=dtype)
    allowed = 1.5 if dtype == torch.float32 else 1.0
    for name in ("grad_a", "grad_b"):
        error, eager_error = (
            relative_error(getattr(x, name), getattr(expected, name)) for x in (actual, eager)
        )
        assert error <= allowed * eager_error


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_blocks_of_a_small_budget_add_up_to_the_whole(
    emulated: ModuleType, generator: torch.Generator, dtype: torch.dtype
) -> None:
    a, b = unit_rows(131, 20, generator, dtype), unit_rows(260, 20, generator, dtype)
    assert_close_to_float64(emulated, a, b, 14.0, offset=65, budget_bytes=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", ["logsum", "meanlog"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_listed_positives_match_float64(
    emulated: ModuleType, generator: torch.Generator, dtype: torch.dtype, reduction: str, weighted: bool
) -> None:
    a, b = unit_rows(19, 17, generator, dtype), unit_rows(140, 17, generator, dtype)
    positives = random_positives(19, 140, generator, weighted)
    assert_close_to_float64(emulated, a, b, 8.0, positives=positives, reduction=reduction)


def test_listed_positives_match_float64_across_blocks(
    emulated: ModuleType, generator: torch.Generator
) -> None:
    a, b = unit_rows(130, 9, generator, torch.float32), unit_rows(150, 9, generator, torch.float32)
    positives = random_positives(130, 150, generator, weighted=True)
    assert_close_to_float64(emulated, a, b, 8.0, positives=positives, budget_bytes=1)


def test_rows_with_a_stride_and_an_odd_address_are_read_right(
    emulated: ModuleType, generator: torch.Generator
) -> None:
    for dtype in DTYPES:
        wide = unit_rows(30, 41, generator, dtype)
        assert_close_to_float64(emulated, wide[:, 1:20], wide[::2, 20:39][:15].repeat(2, 1)[:30], 5.0)


def test_a_nearly_solved_batch_keeps_the_digits_of_its_loss(
    emulated: ModuleType, generator: torch.Generator
) -> None:
    a = unit_rows(40, 64, generator, torch.float32)
    actual = call_contrastive(emulated, a, a.clone(), 100.0)
    expected = expected_contrastive(a, a.clone(), 100.0)
    eager = expected_contrastive(a, a.clone(), 100.0, dtype=torch.float32)
    error, eager_error = (abs(float(x.loss) - float(expected.loss)) for x in (actual, eager))
    assert float(actual.loss) >= 0
    assert error <= eager_error + 1e-12


def test_large_logits_do_not_overflow(emulated: ModuleType, generator: torch.Generator) -> None:
    for dtype in DTYPES:
        a, b = (unit_rows(21, 16, generator, dtype) for _ in range(2))
        assert_close_to_float64(emulated, a, b, 1000.0)


def test_empty_batches_give_zero(emulated: ModuleType) -> None:
    for num_columns in (0, 3):
        a, b = torch.zeros(0, 4), torch.ones(num_columns, 4)
        actual = call_contrastive(emulated, a, b, 10.0)
        assert float(actual.loss) == 0
        assert float(actual.grad_scale) == 0
        assert bool((actual.grad_b == 0).all())


def test_rows_without_dimensions_are_uniform(emulated: ModuleType) -> None:
    actual = call_contrastive(emulated, torch.zeros(5, 0), torch.zeros(5, 0), 10.0)
    assert float(actual.loss) == pytest.approx(float(torch.tensor(5.0).log()))


def test_a_nan_reaches_the_loss(emulated: ModuleType) -> None:
    a, b = torch.ones(3, 4), torch.ones(3, 4)
    a[1, 2] = torch.nan
    assert call_contrastive(emulated, a, b, 1.0).loss.isnan().all()


def test_a_positive_outside_the_columns_gives_nan_and_no_crash(emulated: ModuleType) -> None:
    positives = Positives(torch.tensor([0, 1, 2]), torch.tensor([1, 900000]))
    actual = call_contrastive(emulated, torch.ones(2, 4), torch.ones(3, 4), 1.0, positives=positives)
    assert actual.loss.isnan().all()


def test_twice_the_same_call_gives_the_same_bits(emulated: ModuleType, generator: torch.Generator) -> None:
    a, b = (unit_rows(140, 16, generator, torch.bfloat16) for _ in range(2))
    first, second = (call_contrastive(emulated, a, b, 10.0, budget_bytes=0) for _ in range(2))
    assert torch.equal(first.grad_a, second.grad_a)
    assert torch.equal(first.grad_b, second.grad_b)
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(first.grad_scale, second.grad_scale)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("num_queries", "num_rows", "dim", "k"),
    [(1, 1, 1, 1), (3, 5, 7, 5), (5, 300, 12, 10), (130, 257, 9, 33), (2, 700, 8, 300)],
)
def test_topk_matches_a_stable_sort(
    emulated: ModuleType,
    generator: torch.Generator,
    dtype: torch.dtype,
    num_queries: int,
    num_rows: int,
    dim: int,
    k: int,
) -> None:
    queries, base = (integer_rows(rows, dim, generator, dtype) for rows in (num_queries, num_rows))
    actual, expected = call_topk(emulated, queries, base, k), expected_topk(queries, base, k)
    assert torch.equal(actual.ids, expected.ids)
    assert torch.equal(actual.scores.double(), expected.scores)
    assert not actual.nonfinite


def test_topk_leaves_out_excluded_rows(emulated: ModuleType, generator: torch.Generator) -> None:
    queries, base = (integer_rows(rows, 6, generator, torch.float32) for rows in (100, 200))
    exclude = random_positives(100, 200, generator, weighted=False)
    actual, expected = (
        call_topk(emulated, queries, base, 40, exclude),
        expected_topk(queries, base, 40, exclude),
    )
    assert torch.equal(actual.ids, expected.ids)
    assert torch.equal(actual.scores.double(), expected.scores)


def test_topk_fills_missing_places(emulated: ModuleType) -> None:
    exclude = Positives(torch.tensor([0, 2]), torch.tensor([1, -5]))
    actual = call_topk(emulated, torch.ones(1, 2), torch.ones(3, 2), 5, exclude)
    assert actual.ids.tolist() == [[0, 2, -1, -1, -1]]
    assert actual.scores.tolist() == [[2.0, 2.0, -torch.inf, -torch.inf, -torch.inf]]


def test_topk_of_an_empty_base_finds_nothing(emulated: ModuleType) -> None:
    actual = call_topk(emulated, torch.ones(2, 3), torch.ones(0, 3), 2)
    assert actual.ids.tolist() == [[-1, -1], [-1, -1]]
    assert call_topk(emulated, torch.ones(0, 3), torch.ones(4, 3), 2).ids.shape == (0, 2)


def test_topk_ties_signed_zeros_and_keeps_infinities(emulated: ModuleType) -> None:
    base = torch.tensor([[-0.0], [0.0], [-torch.inf], [1.0], [torch.inf], [-0.0]])
    actual = call_topk(emulated, torch.ones(1, 1), base, 6)
    assert actual.ids.tolist() == [[4, 3, 0, 1, 5, 2]]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_topk_reports_values_that_are_not_finite(emulated: ModuleType, value: float) -> None:
    base = torch.ones(200, 2)
    assert not call_topk(emulated, torch.ones(1, 2), base, 3).nonfinite
    base[150, 1] = value
    exclude = Positives(torch.tensor([0, 1]), torch.tensor([150]))
    found = call_topk(emulated, torch.ones(1, 2), base, 3, exclude)
    assert found.nonfinite
    assert found.ids.tolist() == [[0, 1, 2]]


def test_wrong_arguments_raise_before_anything_runs(emulated: ModuleType) -> None:
    a, b = torch.ones(4, 2), torch.ones(5, 2)
    with pytest.raises(ValueError, match="offset must lie in"):
        call_contrastive(emulated, a, b, 1.0, offset=2)
    with pytest.raises(ValueError, match="reduction must be"):
        call_contrastive(emulated, a, b, 1.0, reduction="sum")
    with pytest.raises(ValueError, match="dtype must be"):
        call_topk(emulated, a.double(), b.double(), 1)
    problem = emulated.TopkProblem(
        queries=a.data_ptr(),
        base=b.data_ptr(),
        q=4,
        n=5,
        d=2,
        k=1,
        query_stride=2,
        base_stride=2,
        dtype="float32",
    )
    with pytest.raises(ValueError, match="workspace must have"):
        emulated.topk(problem, scores=256, ids=256, nonfinite=256, workspace=0, workspace_bytes=0)
