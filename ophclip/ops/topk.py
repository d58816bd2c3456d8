# SPDX-License-Identifier: Apache-2.0
"""Maximum inner product search, exact."""

from __future__ import annotations

import torch
from torch import Tensor

from ophclip.ops import reference
from ophclip.ops.pack import PackedBase
from ophclip.ops.reference import Exclusions


def topk(
    queries: Tensor, base: PackedBase | Tensor, k: int, *, exclude: Exclusions | None = None
) -> tuple[Tensor, Tensor]:
    """Find the `k` rows of `base` with the largest inner product with each query.

    Args:
        queries: `[Q, D]`.
        base: `[N, D]`, packed or plain.
        k: neighbours a query, at most N.
        exclude: CSR lists of base ids to leave out, `(indptr int64 [Q+1], indices int64 [P])`.

    Returns:
        float32 scores `[Q, k]`, best first, and int64 ids `[Q, k]`; of equal scores the lower id comes
        first. Where exclusions leave fewer than k, the rest holds score -inf and id -1.

    Raises:
        ValueError: shapes do not fit, k > N, or a value is NaN or infinite.
    """
    rows = base.rows if isinstance(base, PackedBase) else base
    if queries.ndim != 2 or rows.ndim != 2 or queries.shape[1] != rows.shape[1]:
        raise ValueError(
            f"queries and base must be [Q, D] and [N, D], got {list(queries.shape)} and {list(rows.shape)}"
        )
    if not 0 <= k <= rows.shape[0]:
        raise ValueError(f"k must lie in [0, {rows.shape[0]}], the number of rows, got {k}")
    if not bool(torch.isfinite(queries).all()):
        raise ValueError("queries must be finite, got NaN or infinity; remove those rows")
    if not isinstance(base, PackedBase) and not bool(torch.isfinite(rows).all()):
        raise ValueError("base must be finite, got NaN or infinity; remove those rows")
    if exclude is not None:
        _check_exclusions(exclude, queries.shape[0], rows.shape[0])
    return reference.topk(queries, rows, k, exclude=exclude)


def _check_exclusions(exclude: Exclusions, num_queries: int, num_rows: int) -> None:
    indptr, indices = exclude
    if indptr.dtype != torch.int64 or indices.dtype != torch.int64:
        raise ValueError(f"exclude must be int64, got {indptr.dtype} and {indices.dtype}")
    if indptr.shape != (num_queries + 1,) or indices.ndim != 1:
        raise ValueError(
            f"exclude must be indptr [{num_queries + 1}] and indices [P], got {list(indptr.shape)}"
        )
    if int(indptr[0]) != 0 or int(indptr[-1]) != indices.shape[0] or bool((indptr.diff() < 0).any()):
        raise ValueError("indptr of exclude must rise from 0 to P")
    if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= num_rows):
        raise ValueError(f"excluded ids must lie in [0, {num_rows}), got [{indices.min()}, {indices.max()}]")
