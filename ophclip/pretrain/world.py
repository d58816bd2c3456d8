# SPDX-License-Identifier: Apache-2.0
"""One process among those that train together, and what they exchange.

A step makes few exchanges: the embeddings of a batch are gathered once, their gradients come back once, and
one sum over ranks holds the gradients of all weights and whatever else the ranks must agree on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

BUCKET = 1 << 24  # numbers summed over ranks at a time


@dataclass(frozen=True)
class World:
    """One process among all; a process on its own is rank 0 of 1."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    """What this rank computes on: "cpu" or "cuda:N"."""

    @property
    def is_first(self) -> bool:
        """Whether this rank writes and talks."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return this rank's part of `count` items: contiguous, the first ranks one more if it must be."""
        bounds = self._bounds(count)
        return slice(bounds[self.rank], bounds[self.rank + 1])

    def gather(self, own: Tensor, count: int) -> Tensor:
        """Return the rows `[count, D]` of all ranks from each rank's share `[b, D]`, in order.

        Differentiable: the gradient of a row is summed over all ranks and returned to its owner.
        """
        if self.size == 1:
            return own
        bounds = self._bounds(count)
        if own.shape[0] != bounds[self.rank + 1] - bounds[self.rank]:
            raise ValueError(f"own must be this rank's share of {count} rows, got {own.shape[0]}")
        gathered: Tensor = _Gather.apply(own, bounds, self.rank)  # type: ignore[no-untyped-call]
        return gathered

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks; they share type and device."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.size > 1:
            dist.barrier()

    def _bounds(self, count: int) -> list[int]:
        whole, rest = divmod(count, self.size)
        return [rank * whole + min(rank, rest) for rank in range(self.size + 1)]


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    held = 0
    for tensor in tensors:
        if bucket and held + tensor.numel() > BUCKET:
            yield bucket
            bucket, held = [], 0
        bucket.append(tensor)
        held += tensor.numel()
    if bucket:
        yield bucket


class _Gather(torch.autograd.Function):
    """Shares of unequal length are filled up to the longest: the exchanges take equal ones."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, bounds: list[int], rank: int) -> Tensor:
        """Return the rows of all ranks."""
        ctx.bounds, ctx.rank = bounds, rank
        longest = _longest(bounds)
        padded = own if own.shape[0] == longest else _filled_up(own, longest)
        every = own.new_empty(longest * (len(bounds) - 1), own.shape[1])
        dist.all_gather(list(torch.split(every, longest)), padded.contiguous())
        if longest * (len(bounds) - 1) == bounds[-1]:
            return every
        shares = zip(torch.split(every, longest), bounds, bounds[1:], strict=False)
        return torch.cat([rows[: stop - start] for rows, start, stop in shares])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return the sum over ranks of the gradient of this rank's rows."""
        bounds, rank = ctx.bounds, ctx.rank
        longest = _longest(bounds)
        own = bounds[rank + 1] - bounds[rank]
        if dist.get_backend() == "nccl":
            parts = [_filled_up(grad[a:b], longest) for a, b in pairwise(bounds)]
            reduced = grad.new_empty(longest, grad.shape[1])
            dist.reduce_scatter(reduced, parts)
            return reduced[:own], None, None
        total = grad.clone()  # gloo has no reduce-scatter of its own
        dist.all_reduce(total)
        return total[bounds[rank] : bounds[rank + 1]], None, None


def _longest(bounds: Sequence[int]) -> int:
    return bounds[1] - bounds[0]


def _filled_up(rows: Tensor, length: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(length - rows.shape[0], rows.shape[1])])
