# SPDX-License-Identifier: Apache-2.0
"""Searches of quantised bases give what float32 gives, bit for bit, on data made to tell them apart."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest
import torch
from accuracy import unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ophclip.ops import PackedBase, pack, topk
from ophclip.ops.reference import Exclusions

PRECISIONS = ["bf16", "int8"]
N, D, Q = 6000, 48, 20


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def magnitudes(count: int, low: float, high: float) -> Tensor:
    """Return factors `[count, 1]`, evenly spread between powers of ten."""
    return 10 ** (low + (high - low) * torch.rand(count, 1, generator=torch.Generator().manual_seed(9)))


def assert_finds_what_fp32_finds(
    queries: Tensor, base: Tensor, k: int, precision: str, exclude: Exclusions | None = None
) -> None:
    expected = topk(queries, pack(base), k, exclude=exclude)
    found = topk(queries, pack(base, precision), k, exclude=exclude)  # type: ignore[arg-type]
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[0].view(torch.int32), expected[0].view(torch.int32))


def every_hundredth(base: Tensor, factors: list[float]) -> Tensor:
    changed = base.clone()
    for place, factor in enumerate(factors):
        changed[place::100] *= factor
    return changed


ROWS = random(N, D, seed=1)
QUERIES = random(Q, D, seed=2)
ZEROS_FIRST = torch.cat([torch.zeros(N // 2, D), -ROWS[N // 2 :].abs()])
CASES = {
    "independent rows": (QUERIES, ROWS),
    "norms from 1e-6 to 1e6": (QUERIES, ROWS * magnitudes(N, -6, 6)),
    "query norms from 1e-6 to 1e6": (QUERIES * magnitudes(Q, -6, 6), ROWS),
    "rows of 1e-30": (QUERIES, ROWS * 1e-30),
    "rows of 1e30": (QUERIES, ROWS * 1e30),
    "denormal rows": (QUERIES, ROWS * 1e-42),
    "denormal queries": (QUERIES * 1e-42, ROWS),
    "products that underflow": (QUERIES * 1e-20, ROWS * 1e-20),
    "products that overflow": (QUERIES * 1e25, ROWS * 1e25),
    "a few rows beyond any range": (QUERIES, every_hundredth(ROWS, [1e30, 1e-30, 1e-42, 0.0, 1e12, 1e-12])),
    "rows that cancel": (QUERIES.repeat(1, 2), torch.cat([ROWS, 1e-4 * ROWS.flip(0) - ROWS], dim=1)),
    "zero queries": (torch.zeros(3, D), ROWS),
    "zero rows": (QUERIES, torch.zeros(N, D)),
    "zero rows among others": (QUERIES, every_hundredth(ROWS, [0.0] * 70)),
    "zero rows that are the best": (QUERIES.abs(), ZEROS_FIRST),
    "near ties": (QUERIES, ROWS[:1] + 1e-6 * ROWS),
    "one cluster": (QUERIES, ROWS[:1] + 1e-3 * ROWS),
    "clusters": (QUERIES, ROWS[:20].repeat_interleave(N // 20, 0) + 1e-5 * ROWS),
    "duplicates": (QUERIES, ROWS[:30].repeat(N // 30, 1)),
    "equal rows": (QUERIES, ROWS[:1].repeat(N, 1)),
    "rows that are queries": (ROWS[:Q], ROWS),
    "a large mean": (QUERIES, ROWS + 30 * ROWS[:1]),
    "a mean beyond any range": (QUERIES * 1e11, ROWS * 1e36 + 1e38),
    "an outlying coordinate": (QUERIES, ROWS + 1000 * torch.eye(D)[5]),
    "a wide coordinate": (QUERIES, ROWS * (1 + 300 * torch.eye(D)[5])),
    "small integers": (QUERIES.round(), ROWS.round()),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [1, 10, 130])
def test_scores_and_ids_are_those_of_float32(case: str, k: int, precision: str) -> None:
    assert_finds_what_fp32_finds(*CASES[case], k, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dim", [1, 3, 4, 5, 33, 768, 1024])
@pytest.mark.parametrize("num_rows", [1, 31, 32, 33, 700])
def test_odd_sizes_are_searched(num_rows: int, dim: int, precision: str) -> None:
    base = random(num_rows, dim, seed=3)
    for num_queries in (1, 13, 14, 15):
        queries = random(num_queries, dim, seed=num_queries)
        for k in {1, num_rows // 5, num_rows}:
            assert_finds_what_fp32_finds(queries, base, k, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_more_queries_than_a_block_are_searched(precision: str) -> None:
    assert_finds_what_fp32_finds(random(300, D, seed=4), ROWS, 7, precision)
    assert topk(torch.zeros(0, D), pack(ROWS, precision), 3)[0].shape == (0, 3)  # type: ignore[arg-type]
    assert topk(QUERIES, pack(ROWS[:0], precision), 0)[1].shape == (Q, 0)  # type: ignore[arg-type]


def outlying(dim: int) -> Tensor:
    """Return a vector `[dim]` with a few large coordinates, as embeddings of one model share them."""
    vector = torch.zeros(dim)
    vector[[5, 6, 130, 301]] = torch.tensor([25.0, -7.0, 12.0, -9.0])
    return vector


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("num_queries", [1, 20, 300])
@pytest.mark.parametrize("shared", [0.0, 1.0, -3.0])
def test_outlying_coordinates_of_queries_are_scanned_in_parts(
    shared: float, num_queries: int, precision: str
) -> None:
    base = random(2000, 512, seed=12) + shared * outlying(512)
    queries = random(num_queries, 512, seed=13)
    queries[::2] += outlying(512)
    queries *= magnitudes(num_queries, -3, 3)
    assert_finds_what_fp32_finds(queries, base, 10, precision)
    queries[0, 77] = 1e5  # too large for a few parts
    assert_finds_what_fp32_finds(queries, base, 10, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_too_long_for_the_sums_is_searched_all_the_same(precision: str) -> None:
    assert_finds_what_fp32_finds(random(2, 66_000, seed=5), random(40, 66_000, seed=6), 3, precision)
    assert_finds_what_fp32_finds(random(2, 65_536, seed=5), random(40, 65_536, seed=6), 3, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_excluded_rows_are_left_out(precision: str) -> None:
    # None, the ten best, all but five in any order, and all.
    best = topk(QUERIES[:1], ROWS, 10)[1][0]
    some = torch.randperm(N, generator=torch.Generator().manual_seed(0))[5:]
    lists = [best[:0], best, some, torch.arange(N)]
    indptr = torch.tensor([0, *torch.tensor([len(ids) for ids in lists]).cumsum(0).tolist()])
    exclude = (indptr, torch.cat(lists))
    assert_finds_what_fp32_finds(QUERIES[:1].repeat(4, 1), ROWS, 10, precision, exclude)
    _, ids = topk(QUERIES[:1].repeat(4, 1), pack(ROWS, precision), 10, exclude=exclude)  # type: ignore[arg-type]
    assert not set(ids[1].tolist()) & set(best.tolist())
    assert ids[2].tolist().count(-1) == 5
    assert ids[3].tolist() == [-1] * 10


@settings(max_examples=80, deadline=None)
@given(
    num_rows=st.integers(4, 900),
    dim=st.integers(1, 70),
    k=st.integers(1, 40),
    spread=st.sampled_from([0.0, 1e-7, 1e-4, 1e-2, 1.0]),
    exponents=st.tuples(st.integers(-44, 37), st.integers(0, 12)),
    precision=st.sampled_from(PRECISIONS),
    seed=st.integers(0, 1 << 30),
)
def test_random_rows_are_searched_exactly(
    num_rows: int, dim: int, k: int, spread: float, exponents: tuple[int, int], precision: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries, noise = torch.randn(3, dim, generator=generator), torch.randn(num_rows, dim, generator=generator)
    common = torch.randn(1, dim, generator=generator)
    low, width = exponents
    factors = 10.0 ** (low + width * torch.rand(num_rows, 1, generator=generator).double()).clamp(max=37)
    base = ((common + spread * noise) * factors).clamp(-3e38, 3e38).float()
    assert_finds_what_fp32_finds(queries, base, min(k, num_rows), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_rows_of_other_types_are_packed_as_they_are(dtype: torch.dtype, precision: str) -> None:
    base = ROWS.to(dtype)
    packed = pack(base, precision)  # type: ignore[arg-type]
    assert torch.equal(packed.rows, base.float())
    expected = topk(QUERIES, pack(base.float()), 9)
    assert all(map(torch.equal, topk(QUERIES, packed, 9), expected))


@pytest.mark.parametrize("precision", ["fp32", *PRECISIONS])
def test_rows_need_not_be_contiguous_and_may_change_later(precision: str) -> None:
    base = random(N, 2 * D, seed=7)
    packed = pack(base[::3, ::2], precision)  # type: ignore[arg-type]
    expected = topk(QUERIES, base[::3, ::2].contiguous(), 9)
    base.zero_()
    assert all(map(torch.equal, topk(QUERIES, packed, 9), expected))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_rows_that_are_not_finite_are_refused(value: float, precision: str) -> None:
    base = ROWS[:50].clone()
    base[49, 3] = value
    with pytest.raises(ValueError, match="x must be finite"):
        pack(base, precision)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"k must lie in \[0, 49\]"):
        topk(QUERIES, pack(ROWS[:49], precision), 50)  # type: ignore[arg-type]


def with_facts(base: PackedBase, factor: float) -> PackedBase:
    """Return the base with residuals and norms that are `factor` times what they should be."""
    assert base.quantised is not None
    facts = base.quantised.facts.clone()
    facts[:, 1:] *= factor
    return dataclasses.replace(base, quantised=dataclasses.replace(base.quantised, facts=facts))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bound_that_is_too_small_would_be_caught(precision: str) -> None:
    # The k best and the k next differ by less than rounding loses: the order of the scan is not that of fp32.
    base = unit_rows(N, D, 8)
    queries = base[:Q]
    base = torch.cat([base, (queries + 1e-3 * random(200, Q, D, seed=11)).reshape(-1, D)])
    packed = pack(base, precision)  # type: ignore[arg-type]
    expected = topk(queries, pack(base), 20)
    assert all(map(torch.equal, topk(queries, packed, 20), expected))
    assert all(map(torch.equal, topk(queries, with_facts(packed, 1.5), 20), expected))
    assert not torch.equal(topk(queries, with_facts(packed, 0.0), 20)[1], expected[1])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_norms_of_residuals_are_rounded_up(precision: str) -> None:
    base = ROWS * magnitudes(N, -6, 6) + 100 * ROWS[:1]
    packed = pack(base, precision)  # type: ignore[arg-type]
    assert packed.quantised is not None
    scale, residual, norm = packed.quantised.facts.double().transpose(1, 2).reshape(-1, 3)[:N].T
    scanned = packed.panels.double() - (128 if precision == "int8" else 0)
    values = scanned.transpose(1, 2).reshape(-1, scanned.shape[1] * scanned.shape[3])[:N, :D]
    centred = base.double() - packed.quantised.centre.double()
    true_residual = (centred - scale[:, None] * values).norm(dim=1)
    assert bool((residual >= true_residual).all())
    assert bool((norm >= centred.norm(dim=1)).all())
    assert bool((residual <= 1.001 * true_residual + 1e-5 * norm).all())  # and not by much


ISA_PROGRAM = """
import torch
from ophclip.ops import native_status, pack, topk
generator = torch.Generator().manual_seed(0)
for num_queries, dim, k in [(1, 33, 5), (5, 64, 1), (40, 130, 50), (14, 768, 10), (90, 5, 10)]:
    base = torch.randn(3000, dim, generator=generator)
    queries = torch.randn(num_queries, dim, generator=generator)
    queries[:, dim // 2] *= 20
    expected = topk(queries, pack(base), k)
    for precision in ("bf16", "int8"):
        assert all(map(torch.equal, topk(queries, pack(base, precision), k), expected)), (dim, precision)
print(native_status().isa)
"""


@pytest.mark.parametrize("isa", ["avx512", "avx2", "portable"])
def test_every_instruction_set_is_exact(isa: str) -> None:
    from ophclip import _native

    if isa not in _native.supported_isas():
        pytest.skip(f"this CPU has no {isa}")
    done = subprocess.run(
        [sys.executable, "-c", ISA_PROGRAM],
        capture_output=True,
        text=True,
        env={**os.environ, "OPHCLIP_ISA": isa},
        timeout=120,
    )
    assert done.stdout == f"{isa}\n", done.stderr


MEMORY_PROGRAM = """
import sys, torch
from pathlib import Path
from ophclip.ops import pack, topk
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
torch.set_num_threads(2)
num_rows, precision = int(sys.argv[1]), sys.argv[2]
generator = torch.Generator().manual_seed(0)
base = pack(torch.randn(num_rows, 64, generator=generator), precision)
queries = torch.randn(500, 64, generator=generator)
topk(queries[:1], base, 10)
Path("/proc/self/clear_refs").write_text("5")
before = peak()
topk(queries, base, 10)
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("precision", ["fp32", *PRECISIONS])
def test_memory_of_a_search_does_not_grow_with_the_base(precision: str) -> None:
    used_mib = [
        int(
            subprocess.run(
                [sys.executable, "-c", MEMORY_PROGRAM, str(num_rows), precision],
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
            ).stdout
        )
        for num_rows in (5_000, 200_000)
    ]
    # 500 x 200,000 scores would be 381 MiB.
    assert used_mib[1] <= used_mib[0] + 16, used_mib
