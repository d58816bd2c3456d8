# SPDX-License-Identifier: Apache-2.0
"""Exact inner product search over a packed base, against faiss in both its modes and plain torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from conftest import SMOKE, Comparison
from peers import faiss_search

from ophclip.ops import pack, topk

CASES = (
    [(1, 2000, 32), (8, 2000, 32)]
    if SMOKE
    else [(1, 300_000, 768), (32, 200_000, 768), (256, 200_000, 768), (1024, 30_000, 768)]
)
K = 10


@pytest.mark.parametrize(("num_queries", "num_rows", "dim"), CASES)
def test_topk(
    compare: Comparison,
    matmul_flops: float,
    memory_bytes_per_s: float,
    num_queries: int,
    num_rows: int,
    dim: int,
) -> None:
    generator = torch.Generator().manual_seed(0)
    base = F.normalize(torch.randn(num_rows, dim, generator=generator), dim=1)
    queries = F.normalize(torch.randn(num_queries, dim, generator=generator), dim=1)
    packed = pack(base)
    peers = {
        "faiss": faiss_search(base, queries, K, with_blas=False),
        "faiss with BLAS": faiss_search(base, queries, K, with_blas=True),
        "torch": lambda: torch.topk(queries @ base.T, K),
    }
    compute_s = 2 * num_queries * num_rows * dim / matmul_flops
    read_s = 4 * num_rows * dim / memory_bytes_per_s
    compare.run(lambda: topk(queries, packed, K), peers, rounds=5, floor_s=max(compute_s, read_s))
