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
    level = Level(a, b, scale, offset=offset, positives=positives, reduction=reduction)
    return _losses([level], precision, workspace_mib)[0]


def hierarchical_contrastive_loss(levels: Sequence[Level]) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of the levels' losses, and each level's own loss `[L]` without its weight.

    All levels are solved in one native call. They share a device.

    Raises:
        ValueError: there are no levels, one of them does not fit together, or their devices differ.
    """
    if not levels:
        raise ValueError("levels must hold at least one Level, got none")
    losses = _losses(levels, "auto", 64)
    weights = losses.new_tensor([level.weight for level in levels])
    return (weights * losses).sum(), losses.detach()


def _losses(levels: Sequence[Level], precision: str, workspace_mib: int) -> Tensor:
    """Return the loss of each level without its weight, `[L]`."""
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision must be 'auto', 'fp32' or 'bf16', got {precision!r}")
    if workspace_mib < 1:
        raise ValueError(f"workspace_mib must be at least 1, got {workspace_mib}")
    scales = [_check(x.a, x.b, x.scale, x.offset, x.positives, x.reduction) for x in levels]
    if len({level.a.device for level in levels}) > 1:
        raise ValueError(f"levels must share a device, got {[str(level.a.device) for level in levels]}")
    rows = [(_as(level.a, precision), _as(level.b, precision)) for level in levels]
    if not all(register.is_served(a) for a, _ in rows):
        return torch.stack(
            [
                reference.contrastive_loss(
                    a, b, scale, offset=level.offset, positives=level.positives, reduction=level.reduction
                )
                for level, (a, b), scale in zip(levels, rows, scales, strict=True)
            ]
        )
    return register.contrastive_losses(
        [a for a, _ in rows],
        [b for _, b in rows],
        scales,
        [part for level in levels for part in _lists(level)],
        [level.offset for level in levels],
        [level.reduction == "meanlog" for level in levels],
        workspace_mib,
    )


def _as(x: Tensor, precision: str) -> Tensor:
    return x if precision == "auto" else x.to(torch.float32 if precision == "fp32" else torch.bfloat16)


def _lists(level: Level) -> tuple[Tensor, Tensor, Tensor]:
    nothing = level.a.new_empty(0)
    if level.positives is None:
        return nothing, nothing, nothing
    indptr, indices, weights = level.positives
    return indptr, indices, nothing if weights is None else weights


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
    if any(part is not None and part.device != a.device for part in (indptr, indices, weights)):
        raise ValueError(f"positives must lie on the device of a, {a.device}; move them there")
    if weights is not None and weights.shape != indices.shape:
        raise ValueError(f"weights must be [{indices.shape[0]}], got {list(weights.shape)}")
    if torch.compiler.is_compiling():
        return  # the checks below read the data
    if int(indptr[0]) != 0 or int(indptr[-1]) != indices.shape[0] or bool((indptr.diff() < 1).any()):
        raise ValueError("indptr must rise from 0 to P by at least one positive a row")
    if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= b.shape[0]):
        raise ValueError(f"indices must lie in [0, {b.shape[0]}), got [{indices.min()}, {indices.max()}]")
