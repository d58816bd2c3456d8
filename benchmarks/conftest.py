# SPDX-License-Identifier: Apache-2.0
"""The cases of `ophclip.bench` under pytest-benchmark, and their one table at the end.

OPHCLIP_BENCH=smoke runs the smallest sizes, OPHCLIP_BENCH=large also the cases that take minutes each;
OPHCLIP_BENCH_THREADS fixes the threads (all CPUs of the process without it).
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch

from ophclip.bench import Case, Result, Scale, Session, cases, machine_facts, measure, render

SCALE = cast(Scale, os.environ.get("OPHCLIP_BENCH", "full"))
THREADS = int(os.environ.get("OPHCLIP_BENCH_THREADS", "0"))
COMMAND = shlex.join(["pytest", *sys.argv[1:]])

_results: list[Result] = []
_facts: dict[str, Any] = {}


def cases_named(*starts: str) -> list[Any]:
    """The cases whose names start so, as parameters of a test."""
    if SCALE not in ("smoke", "full", "large"):
        raise pytest.UsageError(f"OPHCLIP_BENCH must be smoke, full or large, got {SCALE!r}")
    return [pytest.param(case, id=case.name) for case in cases("cpu", SCALE) if case.name.startswith(starts)]


@pytest.fixture(scope="session")
def session() -> Iterator[Session]:
    before = torch.get_num_threads()
    made = Session(threads=THREADS, is_smoke=SCALE == "smoke")
    yield made
    _facts.update(machine_facts(made, COMMAND))
    torch.set_num_threads(before)


@pytest.fixture
def run_case(benchmark: Any, session: Session) -> Callable[[Case], Result]:
    def loop(ours: Callable[[], Any], time_peers: Callable[[], None], rounds: int) -> list[float]:
        benchmark.pedantic(ours, setup=time_peers, rounds=rounds)
        return list(benchmark.stats.stats.data)

    def run(case: Case) -> Result:
        result = measure(case, session, None if benchmark.disabled else loop)
        if result.ours_s is None:  # figures alone, measured in processes of their own
            benchmark.pedantic(lambda: None, rounds=1)
        benchmark.extra_info.update(result.as_dict())
        _results.append(result)
        return result

    return run


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    output_json["ophclip"] = _facts


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _results:
        terminalreporter.write_line("")
        for line in render(_results, _facts):
            terminalreporter.write_line(line)
