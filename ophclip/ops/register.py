# SPDX-License-Identifier: Apache-2.0
"""The native operators as torch custom operators: schema, shapes without data, and gradients.

The loss comes with its gradients from one native call, so backward only scales them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ophclip.ops.native import cpu_kernels, cuda_kernels

MIB = 1 << 20
WORK_PER_THREAD = 1 << 21  # multiply-adds below which waking another thread costs more than it saves

# Tensors of lists a level (indptr, indices, weights: empty where it has none), and gradients (a, b, scale).
PARTS = 3


@torch.library.custom_op("ophclip::contrastive", mutates_args=())
def contrastive(
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    scale: Sequence[Tensor],
    lists: Sequence[Tensor],
    offset: Sequence[int],
    mean_log: Sequence[bool],
    workspace_mib: int,
    needs_gradient: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Return the loss of each level [L], and the gradients of each level's a, b and scale if needed."""
    levels = zip(a, b, scale, offset, _lists_of_levels(lists), mean_log, strict=True)
    return _solve(list(levels), workspace_mib, needs_gradient)


def _solve(
    levels: Sequence[tuple[Any, ...]], workspace_mib: int, needs_gradient: bool
) -> tuple[Tensor, list[Tensor]]:
    if levels[0][0].is_cuda:
        from ophclip.ops.device import contrastive_on_device

        found = [
            contrastive_on_device(*level, workspace_mib=workspace_mib, needs_gradient=needs_gradient)
            for level in levels
        ]
        losses, gradients = torch.stack([loss for loss, _ in found]), [part for _, part in found]
    else:
        losses, gradients = _contrastive_on_host(levels, workspace_mib, needs_gradient)
    return losses, [tensor for level in gradients for tensor in level]


def _contrastive_on_host(
    levels: Sequence[tuple[Any, ...]], workspace_mib: int, needs_gradient: bool
) -> tuple[Tensor, list[list[Tensor]]]:
    kernels = cpu_kernels()
    assert kernels is not None
    rows = [(_rows(level[0]), _rows(level[1])) for level in levels]
    lists = [(i.contiguous(), j.contiguous(), _float_rows(w)) for i, j, w in (level[4] for level in levels)]
    grads = [[torch.empty_like(part) for part in pair] if needs_gradient else [] for pair in rows]
    problems = [
        kernels.ContrastiveProblem(
            **_addresses(rows[i], lists[i], grads[i]),
            bf16=rows[i][0].dtype == torch.bfloat16,
            scale=float(scale),
            offset=offset,
            mean_log=mean_log,
            workspace_bytes=workspace_mib * MIB,
            threads=_threads(rows[i][0].shape[0] * max(1, rows[i][1].numel())),
        )
        for i, (_a, _b, scale, offset, _lists, mean_log) in enumerate(levels)
    ]
    results = kernels.contrastive(problems)
    losses = torch.tensor([result.loss for result in results], dtype=torch.float32)
    typed = (
        [
            [grad_a.to(a.dtype), grad_b.to(b.dtype), scale.new_tensor(result.grad_scale)]
            for (grad_a, grad_b), (a, b, scale, *_), result in zip(grads, levels, results, strict=True)
        ]
        if needs_gradient
        else []
    )
    return losses, typed


def _addresses(
    rows: tuple[Tensor, Tensor], lists: tuple[Tensor, Tensor, Tensor], grads: Sequence[Tensor]
) -> dict[str, int]:
    (a, b), (indptr, indices, weights) = rows, lists
    grad_a, grad_b = (part.data_ptr() for part in grads) if grads else (0, 0)
    return {
        "a": a.data_ptr(),
        "b": b.data_ptr(),
        "m": a.shape[0],
        "n": b.shape[0],
        "d": a.shape[1],
        "indptr": _address(indptr),
        "indices": _address(indices),
        "weights": _address(weights),
        "num_positives": indices.numel(),
        "grad_a": grad_a,
        "grad_b": grad_b,
    }


def _lists_of_levels(lists: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    return [(lists[i], lists[i + 1], lists[i + 2]) for i in range(0, len(lists), PARTS)]


@contrastive.register_fake
def _(
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    scale: Sequence[Tensor],
    lists: Sequence[Tensor],
    offset: Sequence[int],
    mean_log: Sequence[bool],
    workspace_mib: int,
    needs_gradient: bool,
) -> tuple[Tensor, list[Tensor]]:
    losses = a[0].new_empty(len(a), dtype=torch.float32)
    inputs = [part for level in zip(a, b, scale, strict=True) for part in level] if needs_gradient else []
    return losses, [torch.empty_like(part, memory_format=torch.contiguous_format) for part in inputs]


def _save_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, list[Tensor]]) -> None:
    ctx.set_materialize_grads(False)  # the gradients are outputs too: no zeros for theirs
    ctx.save_for_backward(*output[1])


def _scale_gradients(ctx: Any, grad_losses: Tensor, *_unused: Any) -> tuple[Any, ...]:
    scaled = _scaled(ctx.saved_tensors, grad_losses)
    no_lists = [None] * len(scaled)
    return *(scaled[part::PARTS] for part in range(PARTS)), no_lists, None, None, None, None


def _scaled(gradients: Sequence[Tensor], grad_losses: Tensor) -> list[Tensor]:
    return [
        (grad_losses[index // PARTS] * gradient).to(gradient.dtype)
        for index, gradient in enumerate(gradients)
    ]


contrastive.register_autograd(_scale_gradients, setup_context=_save_gradients)


class _EagerContrastive(torch.autograd.Function):
    """The operator outside torch.compile, without what `register_autograd` adds to a step.

    That walks over all lists and copies each gradient: half a millisecond, a fifth of a batch of 256. Here
    the gradients are handed over as they are, unless the graph is kept for another backward.
    """

    @staticmethod
    def forward(ctx: Any, others: Sequence[tuple[Any, ...]], workspace_mib: int, *parts: Tensor) -> Tensor:
        """Take the (offset, lists, mean_log) of all levels, then a, b and scale of each in turn."""
        levels = [(*parts[PARTS * i : PARTS * (i + 1)], *rest) for i, rest in enumerate(others)]
        losses, ctx.gradients = _solve(levels, workspace_mib, needs_gradient=True)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_losses: Tensor) -> Any:
        gradients = ctx.gradients
        if gradients is None:
            raise RuntimeError(
                "this loss gave its gradients away; compute it again, or pass retain_graph=True"
            )
        if _is_graph_kept():
            return None, None, *_scaled(gradients, grad_losses)
        ctx.gradients = None
        weights = grad_losses.tolist() if grad_losses.is_cpu else list(grad_losses)
        for index, gradient in enumerate(gradients):
            weight = weights[index // PARTS]
            if isinstance(weight, Tensor) or weight != 1:
                gradient.mul_(weight)
        return None, None, *gradients


def _is_graph_kept() -> bool:
    # torch offers no public way to ask; without the private one, gradients are copied to be safe.
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return ask is None or bool(ask())


def contrastive_losses(
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    scale: Sequence[Tensor],
    lists: Sequence[Tensor],
    offset: Sequence[int],
    mean_log: Sequence[bool],
    workspace_mib: int,
) -> Tensor:
    """Return the loss of each level [L], differentiable in every a, b and scale."""
    tensors = [part for level in zip(a, b, scale, strict=True) for part in level]
    needs_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    losses: Tensor
    if needs_gradient and not torch.compiler.is_compiling():
        others = list(zip(offset, _lists_of_levels(lists), mean_log, strict=True))
        losses = _EagerContrastive.apply(others, workspace_mib, *tensors)  # type: ignore[no-untyped-call]
    else:
        losses, _ = contrastive(a, b, scale, lists, offset, mean_log, workspace_mib, needs_gradient)
    return losses


@torch.library.custom_op("ophclip::topk", mutates_args=())
def topk(
    queries: Tensor,
    rows: Tensor | None,
    panels: Tensor | None,
    facts: Tensor | None,
    centre: Tensor | None,
    num_rows: int,
    k: int,
    indptr: Tensor | None,
    indices: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return scores [Q, K] and ids [Q, K].

    The base is rows [N, D], or panels [ceil(N / 32), D, 32], or both rows and quantised panels with the facts
    and the centre of `ophclip.ops.quantise`.
    """
    kernels = cpu_kernels()
    assert kernels is not None
    wanted = _float_rows(queries)
    base = None if rows is None else _float_rows(rows)
    sparse = [None if part is None else part.contiguous() for part in (indptr, indices)]
    num_queries, dim = queries.shape
    is_quantised = facts is not None
    scores = torch.empty((num_queries, k), dtype=torch.float32)
    ids = torch.empty((num_queries, k), dtype=torch.int64)
    kernels.topk(
        queries=wanted.data_ptr(),
        rows=_address(base),
        panels=0 if is_quantised else _address(panels),
        quantised=_address(panels) if is_quantised else 0,
        facts=_address(facts),
        centre=_address(centre),
        is_int8=panels is not None and panels.dtype == torch.uint8,
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
    facts: Tensor | None,
    centre: Tensor | None,
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


def _rows(x: Tensor) -> Tensor:
    """Return rows as the loss multiplies them: bfloat16 in pairs where the CPU does so, else float32."""
    kernels = cpu_kernels()
    assert kernels is not None
    if x.dtype == torch.bfloat16 and x.shape[1] % 2 == 0 and kernels.multiplies_bf16():
        return x.detach().contiguous()
    return _float_rows(x)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None or tensor.numel() == 0 else tensor.data_ptr()


def _threads(work: int) -> int:
    return max(1, min(torch.get_num_threads(), work // WORK_PER_THREAD))
