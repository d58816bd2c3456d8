# SPDX-License-Identifier: Apache-2.0
"""Training on several processes under torchrun: how they find one another, and how they stop together."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from ophclip import console
from ophclip.errors import OphclipError, UsageError
from ophclip.pretrain.world import World

PATIENCE = timedelta(minutes=10)  # for the slowest rank, before the others give it up
_joined = itertools.count()  # how often this process has joined, as often as every other rank
FAILED = "failed"  # key of the shared store: why the first rank that failed did


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
    shared, _, _ = next(rendezvous("env://", rank, size))
    store = PrefixStore(f"ophclip-{next(_joined)}", shared)  # not the keys of an earlier time
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


def _explained(error: BaseException, store: Store, world: World) -> BaseException:
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
