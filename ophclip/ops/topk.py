# SPDX-License-Identifier: Apache-2.0
"""Maximum inner product search, exact."""

from __future__ import annotations

import torch
from torch import Tensor

from ophclip.ops import reference, register
from ophclip.ops.device import topk_on_device
from ophclip.ops.pack import PackedBase, all_finite
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
    num_rows, dim = (len(base), base.dim) if isinstance(base, PackedBase) else _matrix_shape("base", base)
    num_queries, query_dim = _matrix_shape("queries", queries)
    if query_dim != dim:
        raise ValueError(f"queries and base must have rows of one length, got {query_dim} and {dim}")
    if not 0 <= k <= num_rows:
        raise ValueError(f"k must lie in [0, {num_rows}], the number of rows, got {k}")
    if exclude is not None:
        _check_exclusions(exclude, num_queries, num_rows, queries.device)
    indptr, indices = exclude if exclude is not None else (None, None)
    tensor = base.panels if isinstance(base, PackedBase) else base
    is_served = register.is_served(tensor) and tensor.device == queries.device
    if is_served and tensor.is_cuda:
        rows = base.rows if isinstance(base, PackedBase) else base
        scores, ids, nonfinite = topk_on_device(queries, rows, k, indptr, indices)
        if bool(nonfinite):  # of all scores: to look at the base first would take as long as the search
            _check_operands(queries, base)
        return scores, ids
    _check_operands(queries, base)
    if not is_served:
        rows = base.rows if isinstance(base, PackedBase) else base
        return reference.topk(queries, rows.to(queries.device), k, exclude=exclude)
    scores, ids = register.topk(queries, *_parts(base), num_rows, k, indptr, indices)
    return scores, ids


def _parts(base: PackedBase | Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Return rows, panels, facts and centre, as the operator takes them."""
    if not isinstance(base, PackedBase):
        return base, None, None, None
    if base.quantised is None:
        return None, base.panels, None, None
    return base.quantised.rows, base.panels, base.quantised.facts, base.quantised.centre


def _matrix_shape(name: str, x: Tensor) -> tuple[int, int]:
    if x.ndim != 2:
        raise ValueError(f"{name} must be a matrix, got shape {list(x.shape)}")
    return x.shape[0], x.shape[1]


def _check_operands(queries: Tensor, base: PackedBase | Tensor) -> None:
    _check_finite("queries", queries)
    if not isinstance(base, PackedBase):
        _check_finite("base", base)


def _check_finite(name: str, x: Tensor) -> None:
    if not all_finite(x):
        raise ValueError(f"{name} must be finite, got NaN or infinity; remove those rows")


def _check_exclusions(exclude: Exclusions, num_queries: int, num_rows: int, device: torch.device) -> None:
    indptr, indices = exclude
    if indptr.device != device or indices.device != device:
        raise ValueError(f"exclude must lie on the device of the queries, {device}; move it there")
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
