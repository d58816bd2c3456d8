# SPDX-License-Identifier: Apache-2.0
"""Which cases are run: of what size, on which device, with which targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ophclip.bench.case import FASTEST, OF_FLOOR, Case, Target
from ophclip.bench.loss_cases import BEYOND, hierarchy_case, huge_loss_case, large_loss_case, loss_case
from ophclip.bench.search_cases import device_search_case, packed_search_case, search_memory_case

Scale = Literal["smoke", "full", "large"]

SEARCHES = [  # Q, N, D, k
    (1, 200_000, 768, 10),
    (32, 200_000, 768, 10),
    (256, 200_000, 768, 10),
    (32, 200_000, 768, 100),
    (1024, 30_000, 768, 10),
]
DEVICE_SEARCHES = [  # Q, N, D, k
    (1, 1_000_000, 768, 32),
    (32, 1_000_000, 768, 32),
    (4096, 1_000_000, 768, 32),
]
LEVELS = [1024, 256, 256]  # clips, videos, retrieved videos


def cases(device: str = "cpu", scale: Scale = "full") -> list[Case]:
    """Return the cases of a device: "smoke" the smallest, "large" the full ones and those of minutes."""
    if device.startswith("cuda"):
        return list(_smoke_on_device() if scale == "smoke" else _on_device(scale))
    return list(_smoke_on_host() if scale == "smoke" else _on_host(scale))


def _smoke_on_host() -> Iterator[Case]:
    yield loss_case("fp32", 64, 32)
    yield loss_case("bf16", 64, 32, with_compiled=False)
    yield large_loss_case(256, 32)
    yield hierarchy_case([48, 16, 16], 32, with_compiled=False)
    for precision in ("fp32", "bf16", "int8"):
        yield packed_search_case(precision, 8, 2000, 32, 10)
    yield search_memory_case("fp32", (1000, 4000), 32)


def _on_host(scale: Scale) -> Iterator[Case]:
    for precision in ("fp32", "bf16"):
        for size in (256, 1024, 4096):
            for dim in (256, 512, 768):
                yield loss_case(precision, size, dim, _loss_targets(precision, size, dim))
    lean_and_memory = (Target("lean", least=1.6), Target(BEYOND, most=128))
    yield large_loss_case(16384, 512, lean_and_memory)
    if scale == "large":
        yield huge_loss_case(65536, 512)
    yield hierarchy_case(LEVELS, 512)
    for precision in ("fp32", "bf16", "int8"):
        for num_queries, num_rows, dim, k in SEARCHES:
            targets = _search_targets(precision, num_queries, k)
            yield packed_search_case(precision, num_queries, num_rows, dim, k, targets)
    for precision in ("fp32", "bf16", "int8"):
        yield search_memory_case(precision, (40_000, 160_000), 256)


def _loss_targets(precision: str, size: int, dim: int) -> list[Target]:
    is_headline = precision == "fp32" and (size, dim) == (4096, 512)
    targets = [Target("lean compiled", least=1.2 if is_headline else 1.0)]
    if precision == "fp32" and size >= 1024:
        targets.append(Target("two matmuls", least=2.0))
    return targets


def _search_targets(precision: str, num_queries: int, k: int) -> list[Target]:
    if precision == "fp32":
        return [Target(FASTEST, least=1.1)]
    if precision == "int8":
        return [Target(FASTEST, least=4.0 if k == 10 and num_queries <= 256 else 2.5)]
    return []


def _smoke_on_device() -> Iterator[Case]:
    yield loss_case("bf16", 256, 256)
    yield device_search_case(8, 4096, 256, 10)


def _on_device(scale: Scale) -> Iterator[Case]:
    """The targets are those of an H200."""
    for size, dim in ((4096, 512), (4096, 768), (32768, 512), (32768, 768), (65536, 768)):
        targets = [Target("TFLOP/s", least=600), Target("lean", least=2.5)] if size == 32768 else []
        yield loss_case("bf16", size, dim, targets)
    for num_queries, num_rows, dim, k in DEVICE_SEARCHES:
        yield device_search_case(num_queries, num_rows, dim, k, _device_targets(num_queries))
    if scale == "large":
        yield device_search_case(4096, 10_000_000, 768, 32, _device_targets(4096))


def _device_targets(num_queries: int) -> list[Target]:
    return [Target("TFLOP/s", least=500)] if num_queries >= 4096 else [Target(OF_FLOOR, least=85)]
