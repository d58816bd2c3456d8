# SPDX-License-Identifier: Apache-2.0
"""Contrastive losses over embeddings: symmetric InfoNCE, and one direction with several positives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ophclip.ops import reference, register
from ophclip.ops.reference import Positives

Reduction = Literal["logsum", "meanlog"]
Precision = Literal["auto", "fp32", "bf16"]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Level:
    """One contrastive problem of a hierarchy; the fields are the arguments of `contrastive_loss`."""

    a: Tensor  # [M, D]
    b: Tensor  # [N, D]
    scale: float | Tensor
    weight: float = 1.0
    offset: int = 0
    positives: Positives | None = None
    reduction: Reduction = "logsum"


def contrastive_loss(
    a: Tensor,
    b: Tensor,
    scale: float | Tensor,
    *,
    offset: int = 0,
    positives: Positives | None = None,
    reduction: Reduction = "logsum",
    precision: Precision = "auto",
    workspace_mib: int = 64,
) -> Tensor:
    """Contrast the rows of `a` `[M, D]` with the rows of `b` `[N, D]`; return a float32 scalar.

    The logits are `s = scale * a @ b.T`; rows are used as given, so callers normalise them. Differentiable
    in `a`, `b` and `scale`. No rows (M = 0) give 0.

    Without `positives`, row i of `a` matches row `i + offset` of `b`, and the loss is the mean of both
    directions (InfoNCE, CLIP): each row against all of `b`, and each matched row of `b` against all of `a`.

    With `positives` the loss goes one way, from rows of `a` to their lists in `b`, and is a mean over rows:
    "logsum" is `logsumexp_j s_ij - log sum_p w_ip exp(s_ip)` (MIL-NCE, arXiv 1912.06430), "meanlog" is
    `logsumexp_j s_ij - sum_p w_ip s_ip / sum_p w_ip` (SupCon, arXiv 2004.11362). A data-parallel shard of a
    symmetric loss is two such problems: local `a` to all of `b`, and local `b` to all of `a`.

    Args:
        a: float32, bfloat16 or float16 `[M, D]`.
        b: the same dtype and device, `[N, D]`.
        scale: inverse temperature, a number or a 0-d tensor.
        offset: column that row 0 matches; `offset + M <= N`.
        positives: CSR lists `(indptr int64 [M+1], indices int64 [P], weights [P] or None)`, none empty.
        reduction: how several positives of a row combine.
        precision: "fp32" or "bf16" multiplication; "auto" takes that of the inputs.
        workspace_mib: bound on the memory held beyond O((M + N) D).

    Raises:
        ValueError: shapes, dtypes, devices, `offset` or the lists do not fit together.
    """
    scale = _check(a, b, scale, offset, positives, reduction)
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision must be 'auto', 'fp32' or 'bf16', got {precision!r}")
    if workspace_mib < 1:
        raise ValueError(f"workspace_mib must be at least 1, got {workspace_mib}")
    if precision != "auto":
        dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        a, b = a.to(dtype), b.to(dtype)
    if not register.is_served(a):
        return reference.contrastive_loss(
            a, b, scale, offset=offset, positives=positives, reduction=reduction
        )
    needs_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (a, b, scale))
    indptr, indices, weights = positives if positives is not None else (None, None, None)
    loss: Tensor = register.contrastive(
        a, b, scale, offset, indptr, indices, weights, reduction, workspace_mib, needs_gradient
    )[0]
    return loss


def hierarchical_contrastive_loss(levels: Sequence[Level]) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of the levels' losses, and each level's own loss `[L]` without its weight.

    Raises:
        ValueError: there are no levels, or one of them does not fit together.
    """
    if not levels:
        raise ValueError("levels must hold at least one Level, got none")
    losses = torch.stack(
        [
            contrastive_loss(
                level.a,
                level.b,
                level.scale,
                offset=level.offset,
                positives=level.positives,
                reduction=level.reduction,
            )
            for level in levels
        ]
    )
    weights = losses.new_tensor([level.weight for level in levels])
    return (weights * losses).sum(), losses.detach()


def _check(
    a: Tensor, b: Tensor, scale: float | Tensor, offset: int, positives: Positives | None, reduction: str
) -> Tensor:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"a and b must be [M, D] and [N, D], got {list(a.shape)} and {list(b.shape)}")
    if a.dtype != b.dtype or a.device != b.device:
        raise ValueError(f"a and b must match, got {a.dtype} on {a.device} and {b.dtype} on {b.device}")
    if reduction not in ("logsum", "meanlog"):
        raise ValueError(f"reduction must be 'logsum' or 'meanlog', got {reduction!r}")
    if positives is not None:
        _check_positives(a, b, *positives)
    elif offset < 0 or offset + a.shape[0] > b.shape[0]:
        raise ValueError(
            f"every row of a must match a row of b: offset + M must lie in [0, {b.shape[0]}], "
            f"got offset {offset} and M {a.shape[0]}"
        )
    if not isinstance(scale, Tensor):
        return torch.tensor(scale, dtype=torch.float32, device=a.device)
    if scale.ndim != 0:
        raise ValueError(f"scale must be a number or a 0-d tensor, got shape {list(scale.shape)}")
    return scale


def _check_positives(a: Tensor, b: Tensor, indptr: Tensor, indices: Tensor, weights: Tensor | None) -> None:
    if indptr.dtype != torch.int64 or indices.dtype != torch.int64:
        raise ValueError(f"positives must be int64, got {indptr.dtype} and {indices.dtype}")
    if indptr.shape != (a.shape[0] + 1,) or indices.ndim != 1:
        raise ValueError(
            f"positives must be indptr [{a.shape[0] + 1}] and indices [P], "
            f"got {list(indptr.shape)} and {list(indices.shape)}"
        )
    if weights is not None and weights.shape != indices.shape:
        raise ValueError(f"weights must be [{indices.shape[0]}], got {list(weights.shape)}")
    if torch.compiler.is_compiling():
        return  # the checks below read the data
    if int(indptr[0]) != 0 or int(indptr[-1]) != indices.shape[0] or bool((indptr.diff() < 1).any()):
        raise ValueError("indptr must rise from 0 to P by at least one positive a row")
    if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= b.shape[0]):
        raise ValueError(f"indices must lie in [0, {b.shape[0]}), got [{indices.min()}, {indices.max()}]")
