# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels on torch tensors: outputs and workspaces are torch's, work is queued on its stream."""

from __future__ import annotations

import torch
from torch import Tensor

from ophclip.ops.native import cuda_kernels

MIB = 1 << 20
DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def contrastive_on_device(
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    offset: int,
    lists: tuple[Tensor, Tensor, Tensor],
    mean_log: bool,
    *,
    workspace_mib: int,
    needs_gradient: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Return the loss [] of one level, and its gradients; see `ophclip.ops.register.contrastive`."""
    kernels = cuda_kernels()
    assert kernels is not None
    rows_a, rows_b = a.detach().contiguous(), b.detach().contiguous()
    inverse_temperature = scale.detach().to(device=a.device, dtype=torch.float32)
    indptr, indices = (part.contiguous() for part in lists[:2])
    weights = lists[2].detach().float().contiguous()
    (m, d), n = a.shape, b.shape[0]
    with torch.cuda.device(a.device):
        problem = kernels.ContrastiveProblem(
            a=rows_a.data_ptr(),
            b=rows_b.data_ptr(),
            scale=inverse_temperature.data_ptr(),
            m=m,
            n=n,
            d=d,
            a_stride=d,
            b_stride=d,
            dtype=DTYPE_NAMES[a.dtype],
            offset=offset,
            indptr=_address(indptr),
            indices=_address(indices),
            weights=_address(weights),
            num_positives=indices.numel(),
            reduction="meanlog" if mean_log else "logsum",
            budget_bytes=workspace_mib * MIB,
        )
        stream = torch.cuda.current_stream().cuda_stream
        saved, loss = _floats(a, problem.saved_floats), _floats(a, 1)
        workspace = _workspace(a, problem.forward_workspace_bytes)
        kernels.contrastive_forward(
            problem,
            saved=saved.data_ptr(),
            loss=loss.data_ptr(),
            workspace=workspace.data_ptr(),
            workspace_bytes=workspace.numel(),
            stream=stream,
        )
        if not needs_gradient:
            return loss[0], []
        grad_a, grad_b = torch.empty_like(rows_a), torch.empty_like(rows_b)
        grad_scale, one = _floats(a, 1), torch.ones(1, device=a.device)
        workspace = _workspace(a, problem.backward_workspace_bytes)
        kernels.contrastive_backward(
            problem,
            saved=saved.data_ptr(),
            grad_loss=one.data_ptr(),
            grad_a=grad_a.data_ptr(),
            grad_b=grad_b.data_ptr(),
            grad_scale=grad_scale.data_ptr(),
            workspace=workspace.data_ptr(),
            workspace_bytes=workspace.numel(),
            stream=stream,
        )
    return loss[0], [grad_a, grad_b, grad_scale[0].to(scale, copy=True)]


def topk_on_device(
    queries: Tensor, rows: Tensor, k: int, indptr: Tensor | None, indices: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores [Q, K], ids [Q, K] and whether any score was NaN or infinite, int32 [1]."""
    kernels = cuda_kernels()
    assert kernels is not None
    dtype = rows.dtype if queries.dtype == rows.dtype else torch.float32  # never round either to the other
    base, wanted = rows.detach().to(dtype).contiguous(), queries.detach().to(dtype).contiguous()
    sparse = [None if part is None else part.contiguous() for part in (indptr, indices)]
    (q, d), n = wanted.shape, base.shape[0]
    scores = torch.empty((q, k), dtype=torch.float32, device=base.device)
    ids = torch.empty((q, k), dtype=torch.int64, device=base.device)
    nonfinite = torch.zeros(1, dtype=torch.int32, device=base.device)
    with torch.cuda.device(base.device):
        problem = kernels.TopkProblem(
            queries=wanted.data_ptr(),
            base=base.data_ptr(),
            q=q,
            n=n,
            d=d,
            k=k,
            query_stride=d,
            base_stride=d,
            dtype=DTYPE_NAMES[base.dtype],
            exclude_indptr=_address(sparse[0]),
            exclude_indices=_address(sparse[1]),
            num_excluded=0 if sparse[1] is None else sparse[1].numel(),
        )
        workspace = _workspace(base, problem.workspace_bytes)
        kernels.topk(
            problem,
            scores=scores.data_ptr(),
            ids=ids.data_ptr(),
            nonfinite=nonfinite.data_ptr(),
            workspace=workspace.data_ptr(),
            workspace_bytes=workspace.numel(),
            stream=torch.cuda.current_stream().cuda_stream,
        )
    return scores, ids, nonfinite


def _floats(like: Tensor, count: int) -> Tensor:
    return torch.empty(count, dtype=torch.float32, device=like.device)


def _workspace(like: Tensor, num_bytes: int) -> Tensor:
    return torch.empty(num_bytes, dtype=torch.uint8, device=like.device)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None or tensor.numel() == 0 else tensor.data_ptr()
