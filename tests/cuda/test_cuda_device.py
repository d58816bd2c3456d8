# SPDX-License-Identifier: Apache-2.0
"""The built CUDA module on a device, against float64 on fresh random inputs."""

from __future__ import annotations

import os
import secrets
from types import ModuleType

import pytest
import torch
from cuda_calls import (
    call_contrastive,
    call_topk,
    expected_contrastive,
    expected_topk,
    integer_rows,
    random_positives,
    relative_error,
)

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
PATHS = ["portable", "hopper"]
for_each_dtype = pytest.mark.parametrize(
    ("native", "dtype"),
    # The Hopper path multiplies half-precision rows; float32 ones always take the portable path.
    [(path, dtype) for dtype in DTYPES for path in PATHS if (path, dtype) != ("hopper", torch.float32)],
    indirect=["native"],
    ids=str,
)
SLACK = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 1e-3}


@pytest.fixture(params=PATHS)
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The built module with each path forced in turn; the second needs compute capability 9.0."""
    module: ModuleType = pytest.importorskip("ophclip._cuda", reason="needs the CUDA module to be built")
    if request.param == "hopper" and torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs compute capability 9.0")
    monkeypatch.setenv("OPHCLIP_CUDA_PATH", request.param)
    return module


@pytest.fixture
def generator(record_property: pytest.RecordProperty) -> torch.Generator:
    seed = secrets.randbelow(2**31)
    record_property("seed", seed)
    print(f"seed {seed}")
    return torch.Generator().manual_seed(seed)


def unit_rows(num_rows: int, dim: int, generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
    rows = torch.randn(num_rows, dim, generator=generator)
    return torch.nn.functional.normalize(rows, dim=1).to(dtype).cuda()


def assert_matches(
    module: ModuleType, a: torch.Tensor, b: torch.Tensor, scale: float, **options: object
) -> None:
    """No error may exceed 1.5 times that of plain torch in that dtype, plus the rounding of one result."""
    actual = call_contrastive(module, a, b, scale, **options)
    options.pop("budget_bytes", None)
    expected = expected_contrastive(a, b, scale, **options)
    eager = expected_contrastive(a, b, scale, dtype=a.dtype, **options)
    for name in ("loss", "grad_a", "grad_b", "grad_scale"):
        truth = getattr(expected, name)
        error, eager_error = (
            relative_error(getattr(x, name).reshape(truth.shape), truth) for x in (actual, eager)
        )
        assert error <= 1.5 * eager_error + SLACK[a.dtype], (
            f"{name}: {error} against {eager_error} of plain torch"
        )


@for_each_dtype
@pytest.mark.parametrize(
    ("num_rows", "dim"),
    [(1, 1), (2, 8), (127, 33), (252, 504), (252, 507), (1000, 768), (1024, 512), (513, 1025), (2500, 136)],
)
def test_symmetric_loss_matches_float64(
    native: ModuleType, generator: torch.Generator, dtype: torch.dtype, num_rows: int, dim: int
) -> None:
    a, b = (unit_rows(num_rows, dim, generator, dtype) for _ in range(2))
    assert_matches(native, a, b, 14.3, grad_loss=0.7)


@for_each_dtype
@pytest.mark.parametrize("budget_bytes", [0, 1 << 20])
def test_blocks_of_a_small_budget_match_float64(
    native: ModuleType, generator: torch.Generator, dtype: torch.dtype, budget_bytes: int
) -> None:
    for dim in (130, 136):
        a, b = unit_rows(700, dim, generator, dtype), unit_rows(1500, dim, generator, dtype)
        assert_matches(native, a, b, 14.3, offset=431, budget_bytes=budget_bytes)


@for_each_dtype
@pytest.mark.parametrize("scale", [300.0, -40.0])
def test_logits_far_apart_match_float64(
    native: ModuleType, generator: torch.Generator, dtype: torch.dtype, scale: float
) -> None:
    a, b = (unit_rows(600, 64, generator, dtype) for _ in range(2))
    a[::3] *= 0.25
    assert_matches(native, a, b, scale)


@for_each_dtype
@pytest.mark.parametrize("reduction", ["logsum", "meanlog"])
def test_listed_positives_match_float64(
    native: ModuleType, generator: torch.Generator, dtype: torch.dtype, reduction: str
) -> None:
    a, b = unit_rows(333, 120, generator, dtype), unit_rows(901, 120, generator, dtype)
    positives = random_positives(333, 901, generator, weighted=True)
    assert_matches(native, a, b, 10.0, positives=positives, reduction=reduction)


@for_each_dtype
def test_twice_the_same_call_gives_the_same_bits(
    native: ModuleType, generator: torch.Generator, dtype: torch.dtype
) -> None:
    a, b = (unit_rows(1500, 256, generator, dtype) for _ in range(2))
    first = call_contrastive(native, a, b, 10.0, budget_bytes=1 << 20)
    for _ in range(5):
        again = call_contrastive(native, a, b, 10.0, budget_bytes=1 << 20)
        for name in ("loss", "grad_a", "grad_b", "grad_scale"):
            assert torch.equal(getattr(first, name), getattr(again, name)), name


@for_each_dtype
@pytest.mark.parametrize(
    ("num_queries", "num_rows", "dim", "k"),
    [
        (1, 1, 1, 1),
        (1, 100_003, 64, 10),
        (33, 20_011, 77, 100),
        (33, 20_011, 72, 100),
        (64, 70_001, 1024, 128),
        (65, 9001, 24, 1),
        (200, 40_001, 72, 50),
        (300, 5000, 768, 32),
        (1100, 3001, 40, 128),
        (7, 3001, 16, 500),
    ],
)
def test_topk_matches_a_stable_sort(
    native: ModuleType,
    generator: torch.Generator,
    dtype: torch.dtype,
    num_queries: int,
    num_rows: int,
    dim: int,
    k: int,
) -> None:
    queries, base = (integer_rows(rows, dim, generator, dtype).cuda() for rows in (num_queries, num_rows))
    exclude = random_positives(num_queries, num_rows, generator, weighted=False)
    for excluded in (None, exclude):
        actual, expected = (
            call_topk(native, queries, base, k, excluded),
            expected_topk(queries, base, k, excluded),
        )
        assert torch.equal(actual.ids, expected.ids)
        assert torch.equal(actual.scores.double(), expected.scores)
        assert not actual.nonfinite


@pytest.mark.parametrize("num_queries", [5, 70])
def test_topk_of_a_small_base_matches_a_stable_sort(
    native: ModuleType, generator: torch.Generator, num_queries: int
) -> None:
    queries, base = (integer_rows(rows, 72, generator, torch.bfloat16).cuda() for rows in (num_queries, 600))
    exclude = random_positives(num_queries, 600, generator, weighted=False)
    actual, expected = (
        call_topk(native, queries, base, 40, exclude),
        expected_topk(queries, base, 40, exclude),
    )
    assert torch.equal(actual.ids, expected.ids)


@pytest.mark.parametrize("num_queries", [16, 500])
def test_topk_twice_the_same_call_gives_the_same_bits(
    native: ModuleType, generator: torch.Generator, num_queries: int
) -> None:
    queries, base = (unit_rows(rows, 384, generator, torch.bfloat16) for rows in (num_queries, 100_000))
    first = call_topk(native, queries, base, 100)
    for _ in range(5):
        again = call_topk(native, queries, base, 100)
        assert torch.equal(first.ids, again.ids)
        assert torch.equal(first.scores, again.scores)


def test_topk_scores_do_not_depend_on_the_number_of_queries(
    native: ModuleType, generator: torch.Generator
) -> None:
    queries, base = (unit_rows(rows, 200, generator, torch.float32) for rows in (400, 9000))
    together = call_topk(native, queries, base, 10)
    for row in (0, 129, 399):
        alone = call_topk(native, queries[row : row + 1], base, 10)
        assert torch.equal(alone.ids[0], together.ids[row])
        assert torch.equal(alone.scores[0], together.scores[row])


def test_the_module_knows_its_device(native: ModuleType) -> None:
    assert native.kernel_path() == os.environ["OPHCLIP_CUDA_PATH"]
    assert native.device_count() == torch.cuda.device_count()
    assert native.compiled_architectures()
    assert native.runtime_version() >= 12000
