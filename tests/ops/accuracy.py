# SPDX-License-Identifier: Apache-2.0
"""The rule of every kernel test: our error against float64 may not exceed plain torch's in that dtype."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def unit_rows(count: int, dim: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, dim, generator=generator), dim=1).to(dtype)


def relative_error(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth).norm() / truth.norm().clamp_min(1e-12))


def loss_and_gradients(loss: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    value = loss(*leaves)
    value.backward()  # type: ignore[no-untyped-call]
    gradients = [leaf.grad for leaf in leaves]
    assert all(gradient is not None for gradient in gradients)
    return [value.detach(), *gradients]  # type: ignore[list-item]


def assert_no_worse_than_torch(
    ours: Callable[..., Tensor], reference: Callable[..., Tensor], *inputs: Tensor
) -> None:
    found = loss_and_gradients(ours, *inputs)
    plain = loss_and_gradients(reference, *inputs)
    truth = loss_and_gradients(reference, *(x.double() for x in inputs))
    for name, one, other, exact in zip(("loss", "a", "b", "scale"), found, plain, truth, strict=True):
        bound = 1.5 * relative_error(other, exact) + TOLERANCE[inputs[0].dtype]
        assert relative_error(one, exact) <= bound, name
