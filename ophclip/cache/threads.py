# SPDX-License-Identifier: Apache-2.0
"""How many worker processes a machine has work for, and how many threads each may use."""

from __future__ import annotations

import os
from collections.abc import Sequence

MAX_WORKERS = 16  # each holds an encoder
WORKERS_A_GPU = 2  # while one hands a batch over, the other decodes


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(devices: Sequence[str]) -> int:
    """Return how many workers suit this machine: one a core, or two a GPU."""
    num_gpus = sum(device.startswith("cuda") for device in devices)
    return max(1, min(num_cores(), WORKERS_A_GPU * num_gpus or MAX_WORKERS))


def threads_each(workers: int) -> int:
    """Return how many threads the decoder and the encoder of each worker may use."""
    return max(1, num_cores() // workers)
