# SPDX-License-Identifier: Apache-2.0
"""Peak memory of one call, in a fresh process: what an earlier call left behind must not hide it.

`python -m ophclip.bench.memory TASK` is that process. TASK and the answer are JSON objects.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ophclip.bench.case import Runner, UnavailableError
from ophclip.bench.loss_peers import lean, step
from ophclip.bench.session import Session
from ophclip.errors import OphclipError

MIB = 1 << 20
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SCALE = 14.3  # 1 / 0.07, the inverse temperature that CLIP starts from


def in_fresh_process(task: dict[str, Any]) -> dict[str, float]:
    """Return "raw MiB" that the call added, "MiB beyond outputs", and "s" that it took.

    Raises:
        UnavailableError: this system does not tell peak memory.
        OphclipError: the process failed.
    """
    if not CLEAR.exists():
        raise UnavailableError("peak memory needs Linux")
    command = [sys.executable, "-m", "ophclip.bench.memory", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise OphclipError(f"measuring memory of {task} failed: {last}", remedy=f"exit {done.returncode}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def measure_task(task: dict[str, Any]) -> dict[str, float]:
    """Run the task here; see `in_fresh_process`."""
    session = Session(device=task["device"], threads=task["threads"])
    prepare: Callable[[Session, dict[str, Any]], tuple[Runner, Runner, int]] = TASKS[task["what"]]
    run, warm_up, output_bytes = prepare(session, task)
    warm_up()
    base = _restart_peak(session)
    start = time.perf_counter()
    run()
    if session.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    raw = _peak(session) - base
    return {"raw MiB": raw / MIB, "MiB beyond outputs": (raw - output_bytes) / MIB, "s": seconds}


def _loss(session: Session, task: dict[str, Any]) -> tuple[Runner, Runner, int]:
    """A loss and its gradients; the outputs are the gradients of a and b."""
    from ophclip.ops import contrastive_loss

    loss = {"ours": contrastive_loss, "lean": lean}[task["who"]]
    dtype = getattr(torch, task["dtype"])
    size, dim = task["size"], task["dim"]
    a, b = (session.unit_rows(size, dim, seed, dtype) for seed in (0, 1))
    scale = torch.tensor(SCALE, device=session.device)
    run = step(loss, [(a, b, scale)])
    warm_up = step(loss, [(a[:64], b[:64], scale)])
    return run, warm_up, 2 * a.numel() * a.element_size()


def _search(session: Session, task: dict[str, Any]) -> tuple[Runner, Runner, int]:
    """A search of a packed base; the outputs are scores and ids."""
    from ophclip.ops import pack, topk

    num_queries, k = task["num_queries"], task["k"]
    base = pack(session.unit_rows(task["num_rows"], task["dim"], 0), task["precision"])
    queries = session.unit_rows(num_queries, task["dim"], 1)
    few = pack(session.unit_rows(max(k, 64), task["dim"], 2), task["precision"])

    def run() -> Tensor:
        return topk(queries, base, k)[0]

    return run, lambda: topk(queries, few, k)[0], num_queries * k * (4 + 8)


TASKS = {"loss": _loss, "search": _search}


def _restart_peak(session: Session) -> int:
    if session.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    CLEAR.write_text("5")  # the peak starts anew from here
    return _status_bytes("VmRSS")


def _peak(session: Session) -> int:
    if session.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return _status_bytes("VmHWM")


def _status_bytes(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(measure_task(json.loads(sys.argv[1]))))
