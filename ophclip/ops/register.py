# SPDX-License-Identifier: Apache-2.0
"""The native operators as torch custom operators: schema, shapes without data, and gradients.

The loss comes with its gradients from one native call, so backward only scales them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ophclip.ops.native import cpu_kernels, cuda_kernels

MIB = 1 << 20
WORK_PER_THREAD = 1 << 21  # multiply-adds below which waking another thread costs more than it saves

ContrastiveOutputs = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("ophclip::contrastive", mutates_args=())
def contrastive(
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    offset: int,
    indptr: Tensor | None,
    indices: Tensor | None,
    weights: Tensor | None,
    reduction: str,
    workspace_mib: int,
    needs_gradient: bool,
) -> ContrastiveOutputs:
    """Return the loss [], and its gradients of a [M, D], b [N, D] and scale [], empty if not needed."""
    if a.is_cuda:
        from ophclip.ops.device import contrastive_on_device

        return contrastive_on_device(
            a, b, scale, offset, indptr, indices, weights, reduction, workspace_mib, needs_gradient
        )
    kernels = cpu_kernels()
    assert kernels is not None
    rows_a, rows_b = _float_rows(a), _float_rows(b)
    sparse = [None if part is None else part.contiguous() for part in (indptr, indices)]
    weight = None if weights is None else weights.detach().float().contiguous()
    (m, d), n = a.shape, b.shape[0]
    grad_a, grad_b = (
        torch.empty_like(rows) if needs_gradient else rows.new_empty(0) for rows in (rows_a, rows_b)
    )
    loss, grad_scale = kernels.contrastive(
        a=rows_a.data_ptr(),
        b=rows_b.data_ptr(),
        scale=float(scale),
        m=m,
        n=n,
        d=d,
        offset=offset,
        indptr=_address(sparse[0]),
        indices=_address(sparse[1]),
        weights=_address(weight),
        num_positives=0 if sparse[1] is None else sparse[1].numel(),
        mean_log=reduction == "meanlog",
        grad_a=grad_a.data_ptr() if needs_gradient else 0,
        grad_b=grad_b.data_ptr() if needs_gradient else 0,
        workspace_bytes=workspace_mib * MIB,
        threads=_threads(m * n * max(d, 1)),
    )
    return (
        torch.tensor(loss, dtype=torch.float32),
        grad_a.to(a.dtype),
        grad_b.to(b.dtype),
        torch.tensor(grad_scale, dtype=scale.dtype),
    )


@contrastive.register_fake
def _(
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    offset: int,
    indptr: Tensor | None,
    indices: Tensor | None,
    weights: Tensor | None,
    reduction: str,
    workspace_mib: int,
    needs_gradient: bool,
) -> ContrastiveOutputs:
    grad_a, grad_b = (
        torch.empty_like(rows, memory_format=torch.contiguous_format) if needs_gradient else rows.new_empty(0)
        for rows in (a, b)
    )
    return a.new_empty((), dtype=torch.float32), grad_a, grad_b, torch.empty_like(scale)


def _save_gradients(ctx: Any, inputs: tuple[Any, ...], output: ContrastiveOutputs) -> None:
    ctx.save_for_backward(*output[1:])


def _scale_gradients(ctx: Any, grad_loss: Tensor, *_unused: Tensor) -> tuple[Tensor | None, ...]:
    grad_a, grad_b, grad_scale = ctx.saved_tensors
    return (
        (grad_loss * grad_a).to(grad_a.dtype),
        (grad_loss * grad_b).to(grad_b.dtype),
        (grad_loss * grad_scale).to(grad_scale.dtype),
        *[None] * 7,
    )


contrastive.register_autograd(_scale_gradients, setup_context=_save_gradients)


@torch.library.custom_op("ophclip::topk", mutates_args=())
def topk(
    queries: Tensor,
    rows: Tensor | None,
    panels: Tensor | None,
    num_rows: int,
    k: int,
    indptr: Tensor | None,
    indices: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return scores [Q, K] and ids [Q, K]; the base is rows [N, D] or panels [ceil(N / 32), D, 32]."""
    kernels = cpu_kernels()
    assert kernels is not None
    wanted = _float_rows(queries)
    base = None if rows is None else _float_rows(rows)
    sparse = [None if part is None else part.contiguous() for part in (indptr, indices)]
    num_queries, dim = queries.shape
    scores = torch.empty((num_queries, k), dtype=torch.float32)
    ids = torch.empty((num_queries, k), dtype=torch.int64)
    kernels.topk(
        queries=wanted.data_ptr(),
        rows=_address(base),
        panels=_address(panels),
        q=num_queries,
        n=num_rows,
        d=dim,
        k=k,
        exclude_indptr=_address(sparse[0]),
        exclude_indices=_address(sparse[1]),
        num_excluded=0 if sparse[1] is None else sparse[1].numel(),
        scores=scores.data_ptr(),
        ids=ids.data_ptr(),
        threads=_threads(num_queries * num_rows * max(dim, 1)),
    )
    return scores, ids


@topk.register_fake
def _(
    queries: Tensor,
    rows: Tensor | None,
    panels: Tensor | None,
    num_rows: int,
    k: int,
    indptr: Tensor | None,
    indices: Tensor | None,
) -> tuple[Tensor, Tensor]:
    shape = (queries.shape[0], k)
    return queries.new_empty(shape, dtype=torch.float32), queries.new_empty(shape, dtype=torch.int64)


def is_served(tensor: Tensor) -> bool:
    """Return whether a native kernel serves tensors like this one; plain torch does otherwise."""
    return tensor.dtype != torch.float64 and _has_kernels(tensor.device.type)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_kernels(device_type: str) -> bool:
    # Constant to torch.compile, which could not follow how a library is loaded.
    if device_type == "cpu":
        return cpu_kernels() is not None
    return device_type == "cuda" and cuda_kernels() is not None


def _float_rows(x: Tensor) -> Tensor:
    return x.detach().to(torch.float32).contiguous()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _threads(work: int) -> int:
    return max(1, min(torch.get_num_threads(), work // WORK_PER_THREAD))
