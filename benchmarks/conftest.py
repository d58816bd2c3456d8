# SPDX-License-Identifier: Apache-2.0
"""Ours against its peers in one run, round by round in turn, and one table of ratios at the end."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from ophclip.ops import native_status

THREADS = int(os.environ.get("OPHCLIP_BENCH_THREADS", "0")) or len(os.sched_getaffinity(0))
SMOKE = os.environ.get("OPHCLIP_BENCH") == "smoke"  # the smallest sizes, one round: does it run at all?

_rows: list[Row] = []


@dataclass
class Row:
    """A line of the table: our median, each peer's as a multiple of it, and the share of the floor."""

    case: str
    ours_s: float
    ratios: dict[str, float]
    of_floor: float | None
    notes: dict[str, Any] = field(default_factory=dict)


class Comparison:
    """Times ours and the peers in turn, so that a machine that drifts slows all of them alike."""

    def __init__(self, benchmark: Any, case: str) -> None:
        self._benchmark, self._case = benchmark, case

    def run(
        self,
        ours: Callable[[], Any],
        peers: dict[str, Callable[[], Any]],
        *,
        rounds: int,
        floor_s: float | None = None,
        **notes: Any,
    ) -> Row:
        """Time `rounds` rounds; `floor_s` is the least time that the arithmetic or the memory allows."""
        times: dict[str, list[float]] = {name: [] for name in peers}

        def time_peers() -> None:
            for name, peer in peers.items():
                start = time.perf_counter()
                peer()
                times[name].append(time.perf_counter() - start)

        time_peers()  # warms up: allocations, compilation
        times = {name: [] for name in peers}
        self._benchmark.pedantic(ours, setup=time_peers, rounds=1 if SMOKE else rounds, warmup_rounds=1)
        times = {name: taken[1:] or taken for name, taken in times.items()}  # the round that warmed ours up
        ours_s = float(self._benchmark.stats.stats.median)
        ratios = {name: statistics.median(taken) / ours_s for name, taken in times.items()}
        row = Row(self._case, ours_s, ratios, floor_s / ours_s if floor_s else None, notes)
        status = native_status()
        self._benchmark.extra_info.update(
            {"ratios": ratios, "of_floor": row.of_floor, "threads": THREADS, "isa": status.isa, **notes}
        )
        _rows.append(row)
        return row


@pytest.fixture(autouse=True)
def fixed_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compare(benchmark: Any, request: pytest.FixtureRequest) -> Comparison:
    return Comparison(benchmark, request.node.name.removeprefix("test_"))


@pytest.fixture(scope="session")
def matmul_flops() -> float:
    """Flop a second of torch's own float32 matrix product here: what a floor is computed from."""
    torch.set_num_threads(THREADS)
    size = 512 if SMOKE else 2048
    left, right = torch.randn(size, size), torch.randn(size, size)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        left @ right
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / min(taken)


@pytest.fixture(scope="session")
def memory_bytes_per_s() -> float:
    """Bytes a second that a sum over a large array reads."""
    torch.set_num_threads(THREADS)
    values = torch.ones((1 << 20) if SMOKE else (1 << 27))
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        values.sum()
        taken.append(time.perf_counter() - start)
    return 4 * values.numel() / min(taken)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _rows:
        return
    write = terminalreporter.write_line
    status = native_status()
    write("")
    write(f"ophclip against its peers: {THREADS} threads, {status.isa}, torch {torch.__version__}")
    write("Each peer's time as a multiple of ours: above 1, ours is faster.")
    width = max(len(row.case) for row in _rows)
    for row in _rows:
        ratios = "  ".join(f"{name} {ratio:.2f}x" for name, ratio in row.ratios.items())
        floor = f"  {100 * row.of_floor:.0f} % of the floor" if row.of_floor is not None else ""
        notes = "".join(f"  {name} {value}" for name, value in row.notes.items())
        write(f"{row.case:<{width}}  {1000 * row.ours_s:9.2f} ms  {ratios}{floor}{notes}")
