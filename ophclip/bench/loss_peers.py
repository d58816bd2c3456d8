# SPDX-License-Identifier: Apache-2.0
"""Contrastive losses that a user would otherwise write or install; each takes (a, b, scale) as ours does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ophclip.bench.case import Runner, UnavailableError

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Problem = tuple[Tensor, Tensor, Tensor]  # a [B, D], b [B, D], scale []

INF_CL_HEAD = 256  # columns that Inf-CL's kernels take at a time


def two_matmuls(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """The CLIP loss as open_clip publishes it: one matrix product and one cross entropy a direction."""
    labels = torch.arange(a.shape[0], device=a.device)
    across, down = scale * a @ b.T, scale * b @ a.T
    return (F.cross_entropy(across, labels) + F.cross_entropy(down, labels)) / 2


def lean(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """The leanest loss in plain torch: one product, log-sum-exp over both axes, minus the diagonal.

    The scale goes into the operand and the diagonal comes from the rows, not from the logits: a fifth faster
    than scaling and indexing the B x B logits, eager and compiled.
    """
    logits = (scale * a).to(a.dtype) @ b.T
    both = torch.logsumexp(logits, dim=1).mean() + torch.logsumexp(logits, dim=0).mean()
    return both / 2 - scale * (a * b).sum(dim=1).mean()


def in_fp32(loss: Loss) -> Loss:
    """Return a loss that computes in float32, whatever it is given; gradients come back in its dtype."""

    def widened(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        return loss(a.float(), b.float(), scale)

    return widened


def step(loss: Loss, problems: Sequence[Problem]) -> Runner:
    """Return a function that runs `loss` of each problem forward and backward, and returns their sum.

    Gradients of a, b and scale are computed, into fresh arrays.
    """
    leaves = [[x.detach().clone().requires_grad_() for x in problem] for problem in problems]

    def run() -> Tensor:
        for leaf in (leaf for problem in leaves for leaf in problem):
            leaf.grad = None
        total = sum((loss(*problem) for problem in leaves[1:]), loss(*leaves[0]))
        total.backward()  # type: ignore[no-untyped-call]
        return total.detach()

    return run


def compiled_step(loss: Loss, problems: Sequence[Problem]) -> Runner:
    """`step` with the sum of all losses as one program under torch.compile, for these shapes."""

    def total(*flat: Tensor) -> Tensor:
        parts = [loss(*flat[at : at + 3]) for at in range(0, len(flat), 3)]
        return torch.stack(parts).sum()

    torch.compiler.reset()  # past some shapes of one function torch would silently run it eagerly
    program = torch.compile(total, dynamic=False, fullgraph=True)
    leaves = [x.detach().clone().requires_grad_() for problem in problems for x in problem]

    def run() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        value: Tensor = program(*leaves)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    return run


def inf_cl(problem: Problem) -> Runner:
    """Inf-CL (arXiv 2410.17243): Triton kernels, one direction a call."""
    kernels = _imported("inf_cl", "pip install inf_cl")
    if problem[0].shape[1] % INF_CL_HEAD:
        raise UnavailableError(f"takes D in multiples of {INF_CL_HEAD}")

    def loss(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        # Its own `scale` argument needs a process group.
        across, down = kernels.cal_inf_loss(scale * a, b), kernels.cal_inf_loss(scale * b, a)
        both: Tensor = (across + down) / 2
        return both

    return step(loss, [problem])


def liger(problem: Problem) -> Runner:
    """Liger's fused linear cross entropy, once a direction, with the other side's rows as the weight."""
    kernels = _imported("liger_kernel.transformers", "pip install liger-kernel")
    fused = kernels.LigerFusedLinearCrossEntropyLoss()
    labels = torch.arange(problem[0].shape[0], device=problem[0].device)

    def loss(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        across = fused(b, (scale * a).to(a.dtype), labels)
        down = fused(a, (scale * b).to(b.dtype), labels)
        both: Tensor = (across + down) / 2
        return both

    return step(loss, [problem])


def _imported(name: str, hint: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnavailableError(f"not installed ({error.name}): {hint}") from error
