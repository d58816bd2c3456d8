# SPDX-License-Identifier: Apache-2.0
"""What a user would otherwise write or install; each peer takes the arguments of ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ophclip.ops import reference

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def two_matmuls(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """The CLIP loss as commonly published: one matrix product and one cross entropy a direction."""
    labels = torch.arange(a.shape[0], device=a.device)
    across, down = scale * a @ b.T, scale * b @ a.T
    return (F.cross_entropy(across, labels) + F.cross_entropy(down, labels)) / 2


@cache
def compiled(loss: Loss) -> Loss:
    """`loss` under torch.compile, for one shape at a time."""
    return torch.compile(loss, dynamic=False)


# One product, log-sum-exp over both axes, minus the diagonal: the leanest loss in plain torch.
lean: Loss = reference.contrastive_loss


def step(loss: Loss, a: Tensor, b: Tensor, scale: Tensor) -> Callable[[], None]:
    """Return a function that runs `loss` forward and backward once, gradients of all three included."""
    leaves = [x.detach().clone().requires_grad_() for x in (a, b, scale)]

    def run() -> None:
        for leaf in leaves:
            leaf.grad = None
        loss(*leaves).backward()  # type: ignore[no-untyped-call]

    return run


def faiss_search(base: Tensor, queries: Tensor, k: int, *, with_blas: bool) -> Callable[[], Any]:
    """Search with faiss's exact inner product index; its BLAS mode is off for few queries unless forced."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(base.shape[1])
    index.add(base.numpy())
    wanted: np.ndarray[Any, Any] = queries.numpy()

    def run() -> Any:
        faiss.cvar.distance_compute_blas_threshold = 0 if with_blas else 1 << 30
        return index.search(wanted, k)

    return run
