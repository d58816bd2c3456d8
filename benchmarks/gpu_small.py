# SPDX-License-Identifier: Apache-2.0
"""Every CUDA kernel on odd small sizes: what runs under compute-sanitizer, which slows all of it down."""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F

from ophclip.ops import contrastive_loss, topk

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def run_loss(device: str, dtype: torch.dtype, num_rows: int, dim: int) -> None:
    a, b = (
        F.normalize(torch.randn(num_rows, dim, device=device), dim=1).to(dtype).requires_grad_()
        for _ in range(2)
    )
    loss = contrastive_loss(a, b, 14.3, workspace_mib=1)
    loss.backward()
    assert torch.isfinite(loss), (dtype, num_rows, dim)


def run_search(device: str, dtype: torch.dtype, num_queries: int, num_rows: int, dim: int, k: int) -> None:
    queries, base = (torch.randn(rows, dim, device=device).to(dtype) for rows in (num_queries, num_rows))
    scores, ids = topk(queries, base, k)
    assert torch.isfinite(scores).all(), (dtype, num_rows, dim)
    assert int(ids.max()) < num_rows, (dtype, num_rows, dim)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    for dtype in DTYPES:
        for num_rows, dim in ((1, 8), (130, 33), (300, 136), (700, 64)):  # the last takes several blocks
            run_loss(device, dtype, num_rows, dim)
        for num_queries, num_rows, dim, k in ((1, 1000, 40, 10), (33, 513, 77, 32), (130, 700, 64, 100)):
            run_search(device, dtype, num_queries, num_rows, dim, k)
    print("every kernel ran")


if __name__ == "__main__":
    main()
