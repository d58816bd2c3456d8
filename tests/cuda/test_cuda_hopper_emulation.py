# SPDX-License-Identifier: Apache-2.0
"""The Hopper kernels under emulation (barriers, bulk copies, warpgroup products), against float64."""

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

DTYPES = [torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def _hopper_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPHCLIP_CUDA_PATH", "hopper")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("num_rows", "dim"), [(1, 8), (37, 64), (131, 136), (257, 264), (520, 72)])
def test_symmetric_loss_and_gradients_match_float64(
    emulated: ModuleType, generator: torch.Generator, dtype: torch.dtype, num_rows: int, dim: int
) -> None:
    a, b = (unit_rows(num_rows, dim, generator, dtype) for _ in range(2))
    assert_close_to_float64(emulated, a, b, 10.0, grad_loss=0.7)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_blocks_of_a_small_budget_add_up_to_the_whole(
    emulated: ModuleType, generator: torch.Generator, dtype: torch.dtype
) -> None:
    a, b = unit_rows(140, 24, generator, dtype), unit_rows(600, 24, generator, dtype)
    assert_close_to_float64(emulated, a, b, 14.0, offset=301, budget_bytes=0)
    assert_close_to_float64(emulated, a, b, 14.0, offset=460, budget_bytes=200 << 10)


@pytest.mark.parametrize("scale", [300.0, -40.0, 0.0])
def test_logits_too_far_apart_for_one_shift_match_float64(
    emulated: ModuleType, generator: torch.Generator, scale: float
) -> None:
    a, b = (unit_rows(150, 16, generator, torch.bfloat16) for _ in range(2))
    a[::3] *= 0.25
    assert_close_to_float64(emulated, a, b, scale)


@pytest.mark.parametrize("odd", ["row", "column"])
def test_one_row_or_column_far_below_the_rest_matches_float64(
    emulated: ModuleType, generator: torch.Generator, odd: str
) -> None:
    shared = torch.randn(16, generator=generator)
    a, b = (shared + 0.3 * torch.randn(260, 16, generator=generator) for _ in range(2))
    (a if odd == "row" else b)[41] *= -1
    a, b = (torch.nn.functional.normalize(rows, dim=1).bfloat16() for rows in (a, b))
    assert_close_to_float64(emulated, a, b, 100.0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", ["logsum", "meanlog"])
@pytest.mark.parametrize("budget_bytes", [0, 64 << 20])
def test_listed_positives_match_float64(
    emulated: ModuleType, generator: torch.Generator, dtype: torch.dtype, reduction: str, budget_bytes: int
) -> None:
    a, b = unit_rows(139, 40, generator, dtype), unit_rows(300, 40, generator, dtype)
    positives = random_positives(139, 300, generator, weighted=True)
    assert_close_to_float64(
        emulated, a, b, 8.0, positives=positives, reduction=reduction, budget_bytes=budget_bytes
    )


def test_the_same_positive_twice_counts_twice(emulated: ModuleType, generator: torch.Generator) -> None:
    a, b = (unit_rows(rows, 8, generator, torch.bfloat16) for rows in (2, 20))
    positives = Positives(torch.tensor([0, 3, 4]), torch.tensor([9, 9, 8, 9]), torch.tensor([0.5, 2, 1, 1]))
    assert_close_to_float64(emulated, a, b, 8.0, positives=positives)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_errors_do_not_exceed_those_of_plain_torch_in_that_dtype(
    emulated: ModuleType, generator: torch.Generator, dtype: torch.dtype
) -> None:
    a, b = (unit_rows(200, 72, generator, dtype) for _ in range(2))
    actual = call_contrastive(emulated, a, b, 20.0)
    expected = expected_contrastive(a, b, 20.0)
    eager = expected_contrastive(a, b, 20.0, dtype=dtype)
    for name in ("loss", "grad_a", "grad_b", "grad_scale"):
        truth = getattr(expected, name)
        error, eager_error = (
            relative_error(getattr(x, name).reshape(truth.shape), truth) for x in (actual, eager)
        )
        assert error <= eager_error, name


def test_strided_rows_are_read_where_they_lie(emulated: ModuleType, generator: torch.Generator) -> None:
    wide = unit_rows(150, 64, generator, torch.bfloat16)
    assert_close_to_float64(emulated, wide[:, 8:32], wide[:, 40:64], 10.0)


def test_a_nan_reaches_the_loss(emulated: ModuleType) -> None:
    a, b = (torch.ones(300, 8, dtype=torch.bfloat16) for _ in range(2))
    a[299, 2] = torch.nan
    actual = call_contrastive(emulated, a, b, 1.0)
    assert actual.loss.isnan().all()
    assert actual.grad_a[299].isnan().all()


def test_a_positive_outside_the_columns_gives_nan_and_no_crash(emulated: ModuleType) -> None:
    positives = Positives(torch.tensor([0, 1, 2]), torch.tensor([1, 900000]))
    a, b = (torch.ones(rows, 8, dtype=torch.bfloat16) for rows in (2, 3))
    assert call_contrastive(emulated, a, b, 1.0, positives=positives).loss.isnan().all()


def test_twice_the_same_call_gives_the_same_bits(emulated: ModuleType, generator: torch.Generator) -> None:
    a, b = (unit_rows(300, 16, generator, torch.bfloat16) for _ in range(2))
    first, second = (call_contrastive(emulated, a, b, 10.0, budget_bytes=0) for _ in range(2))
    for name in ("loss", "grad_a", "grad_b", "grad_scale"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("num_queries", "num_rows", "dim", "k"),
    [
        (1, 1, 8, 1),
        (5, 300, 16, 10),
        (9, 1500, 72, 128),
        (2, 700, 8, 300),
        (64, 1030, 136, 32),
        (65, 1030, 8, 100),
        (300, 900, 200, 33),
    ],
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
    exclude = random_positives(num_queries, num_rows, generator, weighted=False)
    for excluded in (None, exclude):
        actual, expected = (
            call_topk(emulated, queries, base, k, excluded),
            expected_topk(queries, base, k, excluded),
        )
        assert torch.equal(actual.ids, expected.ids)
        assert torch.equal(actual.scores.double(), expected.scores)
        assert not actual.nonfinite


@pytest.mark.parametrize("num_queries", [3, 70])
def test_topk_of_equal_scores_takes_the_lowest_ids(emulated: ModuleType, num_queries: int) -> None:
    queries, base = (torch.ones(rows, 8, dtype=torch.bfloat16) for rows in (num_queries, 1100))
    actual = call_topk(emulated, queries, base, 40)
    assert torch.equal(actual.ids, torch.arange(40).expand(num_queries, 40))


def test_topk_ties_signed_zeros_and_keeps_infinities(emulated: ModuleType) -> None:
    base = torch.zeros(6, 8, dtype=torch.bfloat16)
    base[:, 0] = torch.tensor([-0.0, 0.0, -torch.inf, 1.0, torch.inf, -0.0])
    queries = torch.zeros(1, 8, dtype=torch.bfloat16)
    queries[0, 0] = 1.0
    assert call_topk(emulated, queries, base, 6).ids.tolist() == [[4, 3, 0, 1, 5, 2]]


@pytest.mark.parametrize("num_queries", [1, 90])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_topk_reports_values_that_are_not_finite(
    emulated: ModuleType, value: float, num_queries: int
) -> None:
    queries, base = (torch.ones(rows, 8, dtype=torch.bfloat16) for rows in (num_queries, 600))
    assert not call_topk(emulated, queries, base, 3).nonfinite
    base[550, 1] = value
    exclude = Positives(torch.arange(num_queries + 1), torch.full((num_queries,), 550))
    found = call_topk(emulated, queries, base, 3, exclude)
    assert found.nonfinite
    assert found.ids.tolist() == [[0, 1, 2]] * num_queries


def test_operands_that_bulk_copies_cannot_read_take_the_portable_path(
    emulated: ModuleType, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def workspaces(dtype: torch.dtype, dim: int, first: int) -> list[tuple[int, int]]:
        rows = torch.zeros(300, 40, dtype=dtype)[:, first : first + dim]
        problem = emulated.ContrastiveProblem(
            a=rows.data_ptr(),
            b=rows.data_ptr(),
            scale=256,
            m=300,
            n=300,
            d=dim,
            a_stride=40,
            b_stride=40,
            dtype=str(dtype).removeprefix("torch."),
        )
        found = []
        for path in ("hopper", "portable"):
            monkeypatch.setenv("OPHCLIP_CUDA_PATH", path)
            found.append((problem.forward_workspace_bytes, problem.backward_workspace_bytes))
        return found

    on_hopper, portable = workspaces(torch.bfloat16, 32, 0)
    assert on_hopper != portable
    for dtype, dim, first in [(torch.float32, 32, 0), (torch.bfloat16, 31, 0), (torch.bfloat16, 32, 1)]:
        forced, portable = workspaces(dtype, dim, first)
        assert forced == portable
    odd = unit_rows(20, 31, generator, torch.bfloat16)
    assert_close_to_float64(emulated, odd, odd, 10.0)


def test_the_path_is_portable_unless_asked_for_and_an_unknown_one_is_refused(
    emulated: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert emulated.kernel_path() == "hopper"
    monkeypatch.delenv("OPHCLIP_CUDA_PATH")
    assert emulated.kernel_path() == "portable"
    monkeypatch.setenv("OPHCLIP_CUDA_PATH", "fast")
    rows = torch.ones(2, 8)
    with pytest.raises(ValueError, match="must be auto, portable or hopper, got fast"):
        call_contrastive(emulated, rows, rows, 1.0)
    with pytest.raises(ValueError, match="must be auto, portable or hopper, got fast"):
        call_topk(emulated, rows, rows, 1)
