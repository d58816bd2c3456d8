# SPDX-License-Identifier: Apache-2.0
"""Calls the native CUDA module on torch tensors, wherever they live, and states the right answer in float64.

Outputs and workspace are poisoned and lie between guard bytes, so a value that is not written, or written
outside, shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

GUARD_BYTES = 512
POISON = 0xFF  # NaN in every floating type
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}


class Poisoned:
    """A poisoned array of `shape` with guards on both sides."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        num_bytes = torch.Size(shape).numel() * torch.empty(0, dtype=dtype).element_size()
        self._bytes = torch.full((num_bytes + 3 * GUARD_BYTES,), POISON, dtype=torch.uint8, device=device)
        first = GUARD_BYTES + -(self._bytes.data_ptr() + GUARD_BYTES) % 256
        self._inside = slice(first, first + num_bytes)
        self.array = self._bytes[self._inside].view(dtype).view(shape)

    @property
    def address(self) -> int:
        return self._bytes.data_ptr() + self._inside.start

    def checked(self) -> Tensor:
        before, after = self._bytes[: self._inside.start], self._bytes[self._inside.stop :]
        assert bool((before == POISON).all()), "written before the start"
        assert bool((after == POISON).all()), "written past the end"
        return self.array


@dataclass(frozen=True)
class Positives:
    indptr: Tensor
    indices: Tensor
    weights: Tensor | None = None

    def to(self, device: torch.device) -> Positives:
        weights = None if self.weights is None else guarded(self.weights.to(device))
        indptr, indices = (guarded(x.to(device)) for x in (self.indptr, self.indices))
        return replace(self, indptr=indptr, indices=indices, weights=weights)


def guarded(values: Tensor) -> Tensor:
    """A copy of a contiguous array between guards: reading outside it brings in NaN. A view stays itself."""
    if not values.is_contiguous():
        return values
    inside = Poisoned(tuple(values.shape), values.dtype, values.device).array
    return inside.copy_(values)


@dataclass(frozen=True)
class LossResult:
    loss: Tensor
    grad_a: Tensor
    grad_b: Tensor
    grad_scale: Tensor


def call_contrastive(
    module: ModuleType,
    a: Tensor,
    b: Tensor,
    scale: float,
    *,
    offset: int = 0,
    positives: Positives | None = None,
    reduction: str = "logsum",
    budget_bytes: int = 64 << 20,
    grad_loss: float = 1.0,
) -> LossResult:
    device, a, b = a.device, guarded(a), guarded(b)
    stream = torch.cuda.current_stream().cuda_stream if device.type == "cuda" else 0
    scale_tensor = torch.tensor([scale], dtype=torch.float32, device=device)
    upstream = torch.tensor([grad_loss], dtype=torch.float32, device=device)
    sparse = positives.to(device) if positives else None
    weights = sparse.weights if sparse else None
    problem = module.ContrastiveProblem(
        a=a.data_ptr(),
        b=b.data_ptr(),
        scale=scale_tensor.data_ptr(),
        m=a.shape[0],
        n=b.shape[0],
        d=a.shape[1],
        a_stride=a.stride(0),
        b_stride=b.stride(0),
        dtype=str(a.dtype).removeprefix("torch."),
        offset=offset,
        indptr=sparse.indptr.data_ptr() if sparse else 0,
        indices=sparse.indices.data_ptr() if sparse else 0,
        weights=weights.data_ptr() if weights is not None else 0,
        num_positives=len(sparse.indices) if sparse else 0,
        reduction=reduction,
        budget_bytes=budget_bytes,
    )
    saved = Poisoned((problem.saved_floats,), torch.float32, device)
    loss = Poisoned((1,), torch.float32, device)
    workspace = Poisoned((problem.forward_workspace_bytes,), torch.uint8, device)
    module.contrastive_forward(
        problem,
        saved=saved.address,
        loss=loss.address,
        workspace=workspace.address,
        workspace_bytes=problem.forward_workspace_bytes,
        stream=stream,
    )
    workspace.checked()
    grad_a, grad_b = Poisoned(tuple(a.shape), a.dtype, device), Poisoned(tuple(b.shape), b.dtype, device)
    grad_scale = Poisoned((1,), torch.float32, device)
    workspace = Poisoned((problem.backward_workspace_bytes,), torch.uint8, device)
    module.contrastive_backward(
        problem,
        saved=saved.address,
        grad_loss=upstream.data_ptr(),
        grad_a=grad_a.address,
        grad_b=grad_b.address,
        grad_scale=grad_scale.address,
        workspace=workspace.address,
        workspace_bytes=problem.backward_workspace_bytes,
        stream=stream,
    )
    workspace.checked()
    saved.checked()
    outputs = (loss, grad_a, grad_b, grad_scale)
    return LossResult(*(output.checked().cpu() for output in outputs))


def expected_contrastive(
    a: Tensor,
    b: Tensor,
    scale: float,
    *,
    offset: int = 0,
    positives: Positives | None = None,
    reduction: str = "logsum",
    grad_loss: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> LossResult:
    """The loss as its formula reads, by autograd in `dtype` on the CPU."""
    a, b = (x.detach().cpu().to(dtype).requires_grad_() for x in (a, b))
    scale_tensor = torch.tensor(scale, dtype=torch.float32).to(dtype).requires_grad_()
    logits = scale_tensor * (a @ b.T)
    if positives is None:
        rows = torch.arange(len(a))
        own = logits[rows, rows + offset]
        row_loss = torch.logsumexp(logits, dim=1) - own
        column_loss = torch.logsumexp(logits, dim=0)[offset : offset + len(a)] - own
        loss = (row_loss + column_loss).mean() / 2
    else:
        loss = (torch.logsumexp(logits, dim=1) - _numerators(logits, positives, reduction)).mean()
    loss.backward(torch.tensor(grad_loss, dtype=dtype))
    assert a.grad is not None
    assert b.grad is not None
    assert scale_tensor.grad is not None
    return LossResult(loss.detach(), a.grad, b.grad, scale_tensor.grad)


def _numerators(logits: Tensor, positives: Positives, reduction: str) -> Tensor:
    numerators = []
    for row in range(len(logits)):
        entries = slice(int(positives.indptr[row]), int(positives.indptr[row + 1]))
        chosen = logits[row, positives.indices[entries]]
        weights = (
            torch.ones_like(chosen) if positives.weights is None else positives.weights[entries].to(logits)
        )
        if reduction == "logsum":
            numerators.append(torch.logsumexp(chosen + weights.log(), dim=0))
        else:
            numerators.append((weights * chosen).sum() / weights.sum())
    return torch.stack(numerators)


@dataclass(frozen=True)
class TopkResult:
    scores: Tensor
    ids: Tensor
    nonfinite: bool


def call_topk(
    module: ModuleType, queries: Tensor, base: Tensor, k: int, exclude: Positives | None = None
) -> TopkResult:
    device, queries, base = queries.device, guarded(queries), guarded(base)
    stream = torch.cuda.current_stream().cuda_stream if device.type == "cuda" else 0
    sparse = exclude.to(device) if exclude else None
    problem = module.TopkProblem(
        queries=queries.data_ptr(),
        base=base.data_ptr(),
        q=queries.shape[0],
        n=base.shape[0],
        d=queries.shape[1],
        k=k,
        query_stride=queries.stride(0),
        base_stride=base.stride(0),
        dtype=str(base.dtype).removeprefix("torch."),
        exclude_indptr=sparse.indptr.data_ptr() if sparse else 0,
        exclude_indices=sparse.indices.data_ptr() if sparse else 0,
        num_excluded=len(sparse.indices) if sparse else 0,
    )
    scores = Poisoned((len(queries), k), torch.float32, device)
    ids = Poisoned((len(queries), k), torch.int64, device)
    nonfinite = Poisoned((1,), torch.int32, device)
    workspace = Poisoned((problem.workspace_bytes,), torch.uint8, device)
    module.topk(
        problem,
        scores=scores.address,
        ids=ids.address,
        nonfinite=nonfinite.address,
        workspace=workspace.address,
        workspace_bytes=problem.workspace_bytes,
        stream=stream,
    )
    workspace.checked()
    return TopkResult(scores.checked().cpu(), ids.checked().cpu(), bool(nonfinite.checked().item()))


def expected_topk(queries: Tensor, base: Tensor, k: int, exclude: Positives | None = None) -> TopkResult:
    """The float64 scores in stable descending order: ties go to the lower id. Missing: -inf and -1."""
    scores = queries.cpu().double() @ base.cpu().double().T
    kept = torch.ones_like(scores, dtype=torch.bool)
    if exclude is not None:
        for row in range(len(scores)):
            kept[row, exclude.indices[int(exclude.indptr[row]) : int(exclude.indptr[row + 1])]] = False
    best = torch.full((len(scores), k), -torch.inf, dtype=torch.float64)
    ids = torch.full((len(scores), k), -1, dtype=torch.int64)
    for row in range(len(scores)):
        candidates = kept[row].nonzero()[:, 0]
        order = torch.sort(scores[row, candidates], descending=True, stable=True)
        count = min(k, len(candidates))
        best[row, :count] = order.values[:count]
        ids[row, :count] = candidates[order.indices[:count]]
    return TopkResult(best, ids, not bool(scores.isfinite().all()))


def random_positives(
    num_rows: int, num_columns: int, generator: torch.Generator, weighted: bool
) -> Positives:
    """One to four positives a row, in no order, sometimes the same column twice."""
    counts = torch.randint(1, 5, (num_rows,), generator=generator)
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    indices = torch.randint(0, num_columns, (int(indptr[-1]),), generator=generator)
    weights = torch.rand(len(indices), generator=generator) + 0.1 if weighted else None
    return Positives(indptr, indices, weights)


def integer_rows(num_rows: int, dim: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Rows of small integers: inner products are exact in every dtype, and tie often."""
    return torch.randint(-2, 3, (num_rows, dim), generator=generator).to(dtype)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest absolute error over the largest magnitude expected."""
    if expected.numel() == 0:
        return 0.0
    error = (actual.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-30)
    return float(error)


def unit_rows(num_rows: int, dim: int, generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
    rows = torch.randn(num_rows, dim, generator=generator)
    return torch.nn.functional.normalize(rows, dim=1).to(dtype)


def assert_close_to_float64(
    module: ModuleType, a: torch.Tensor, b: torch.Tensor, scale: float, **options: object
) -> None:
    """Loss and gradients within the rounding of their dtype, for tests whose inputs do not change."""
    actual = call_contrastive(module, a, b, scale, **options)
    options.pop("budget_bytes", None)
    expected = expected_contrastive(a, b, scale, **options)
    tolerance = TOLERANCE[a.dtype]
    assert float(actual.loss) == pytest.approx(float(expected.loss), rel=1e-5, abs=1e-6)
    assert relative_error(actual.grad_a, expected.grad_a) < tolerance
    assert relative_error(actual.grad_b, expected.grad_b) < tolerance
    assert float(actual.grad_scale) == pytest.approx(float(expected.grad_scale), rel=1e-4, abs=1e-6)
    assert actual.grad_a.dtype == a.dtype
