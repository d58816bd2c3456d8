# SPDX-License-Identifier: Apache-2.0
"""Training on several processes under torchrun: who they are, what they exchange, how they stop together.

A step makes few exchanges: the embeddings of a batch are gathered once, their gradients come back once, and
one sum over ranks holds the gradients of all weights and whatever else the ranks must agree on.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ophclip import console
from ophclip.errors import OphclipError, UsageError

PATIENCE = timedelta(minutes=10)  # for the slowest rank, before the others give it up
BUCKET = 1 << 24  # numbers summed over ranks at a time
_joined = itertools.count()  # how often this process has joined, as often as every other rank
FAILED = "failed"  # key of the shared store: why the first rank that failed did


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
            parts = flat.split([tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.size > 1:
            dist.barrier()

    def _bounds(self, count: int) -> list[int]:
        whole, rest = divmod(count, self.size)
        return [rank * whole + min(rank, rest) for rank in range(self.size + 1)]


def is_distributed() -> bool:
    """Return whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first_process() -> bool:
    """Return whether this is the only process, or the first of several: the one that talks."""
    return not is_distributed() or os.environ["RANK"] == "0"


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Join the other ranks, over gloo on CPUs and NCCL on GPUs, until the block ends.

    A rank that fails tells the others why; each of them raises that.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; with several ranks on GPUs each takes its own.

    Raises:
        UsageError: there is no such device.
        OphclipError: another rank failed, or is gone.
    """
    if not is_distributed():
        yield World(device=_device(device, 0))
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    world = World(rank, size, _device(device, int(os.environ.get("LOCAL_RANK", "0"))))
    if not world.is_first:
        console.set_quiet(True)
    if world.device != "cpu":
        torch.cuda.set_device(world.device)
    store, _, _ = next(dist.rendezvous("env://", rank, size))
    store = dist.PrefixStore(f"ophclip-{next(_joined)}", store)  # not the keys of an earlier time
    backend = "gloo" if world.device == "cpu" else "nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield world
    except BaseException as error:
        explained = _explained(error, store, world)
        if backend == "gloo":  # closes its connections; NCCL would wait for the others
            dist.destroy_process_group()
        if explained is error:
            raise
        raise explained from error
    dist.destroy_process_group()


def _explained(error: BaseException, store: dist.Store, world: World) -> BaseException:
    """Return what to raise on this rank: its own failure, or that of the rank that failed first."""
    is_own = not _is_of_an_exchange(error)
    try:
        if is_own:
            message = str(error) if isinstance(error, OphclipError) else f"{type(error).__name__}: {error}"
            store.compare_set(FAILED, "", f"rank {world.rank} stopped: {message}")
            return error
        if store.check([FAILED]):
            reason = store.get(FAILED).decode()
            return OphclipError(reason, remedy="mend that, then run the same command with --resume")
    except RuntimeError:  # the store itself is gone
        if is_own:
            return error
    return OphclipError(
        f"rank {world.rank} lost the others: one was killed or lost its connection "
        f"({str(error).splitlines()[0]})",
        remedy="see torchrun's report of which one, then run the same command with --resume",
    )


def _is_of_an_exchange(error: BaseException) -> bool:
    if isinstance(error, dist.DistError):
        return True
    # gloo reports a lost peer as a plain RuntimeError of its own words
    return type(error) is RuntimeError and any(
        word in str(error)
        for word in ("gloo", "Gloo", "Connection closed by peer", "Connection reset", "NCCL")
    )


def _device(name: str, local_rank: int) -> str:
    has_gpu = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_gpu else "cpu"
    if name.startswith("cuda") and not has_gpu:
        raise UsageError(f"device must be available, got {name!r} without a GPU", remedy="set device=auto")
    if name != "cuda":
        return name
    if local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"each process must have a GPU, got {torch.cuda.device_count()} and local rank {local_rank}",
            remedy=f"torchrun --nproc-per-node {torch.cuda.device_count()}",
        )
    return f"cuda:{local_rank}"


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
        dist.all_gather_into_tensor(every, padded.contiguous())
        if longest * (len(bounds) - 1) == bounds[-1]:
            return every
        shares = zip(every.split(longest), bounds, bounds[1:], strict=False)
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
            dist.reduce_scatter_tensor(reduced, torch.cat(parts))
            return reduced[:own], None, None
        total = grad.clone()  # gloo has no reduce-scatter of its own
        dist.all_reduce(total)
        return total[bounds[rank] : bounds[rank + 1]], None, None


def _longest(bounds: Sequence[int]) -> int:
    return bounds[1] - bounds[0]


def _filled_up(rows: Tensor, length: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(length - rows.shape[0], rows.shape[1])])
