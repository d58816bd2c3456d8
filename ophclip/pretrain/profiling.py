# SPDX-License-Identifier: Apache-2.0
"""A trace of some steps for chrome://tracing or Perfetto, written into the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch

from ophclip import console
from ophclip.pretrain.world import World

SKIPPED, WARM_UP, TRACED = 5, 1, 6  # steps; six are a round of the default alternation


class Profiler(Protocol):
    """Is told where a step ends."""

    def step(self) -> None: ...


class _NoProfiler:
    def step(self) -> None:
        pass


@contextmanager
def profiling(out: Path, world: World, *, enabled: bool) -> Iterator[Profiler]:
    """Trace steps 6 to 11 of the block, if enabled, as `profile/rank<N>.json`."""
    if not enabled:
        yield _NoProfiler()
        return
    path = out / "profile" / f"rank{world.rank}.json"
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(profiler: torch.profiler.profile) -> None:
        profiler.export_chrome_trace(str(path))
        console.say(f"trace of {TRACED} steps: {path}")

    plan = torch.profiler.schedule(skip_first=SKIPPED, wait=0, warmup=WARM_UP, active=TRACED, repeat=1)
    with torch.profiler.profile(schedule=plan, on_trace_ready=write, profile_memory=True) as profiler:
        yield profiler
