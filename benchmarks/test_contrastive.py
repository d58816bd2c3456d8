# SPDX-License-Identifier: Apache-2.0
"""The contrastive loss, forward and backward, against plain torch eager and compiled."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from conftest import SMOKE, THREADS, Comparison
from peers import compiled, lean, step, two_matmuls
from torch import Tensor

from ophclip.ops import contrastive_loss

SIZES = [(64, 32)] if SMOKE else [(b, d) for b in (256, 1024, 4096) for d in (256, 512, 768)]

PEAK_PROGRAM = """
import sys, torch
sys.path.insert(0, {folder!r})
from ophclip.ops import contrastive_loss
from peers import lean, step
torch.set_num_threads({threads})
a, b = torch.nn.functional.normalize(torch.randn(2, {size}, {dim}), dim=2)
step({loss}, a[:64], b[:64], torch.tensor(10.0))()
run = step({loss}, a, b, torch.tensor(10.0))
def kib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # the peak starts anew from here
before = kib("VmRSS")
run()
print((kib("VmHWM") - before) // 1024)
"""


def problem(size: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = F.normalize(torch.randn(2, size, dim, generator=generator), dim=2)
    return a, b, torch.tensor(14.3)


def peak_mib(loss: str, size: int, dim: int) -> int:
    """Memory that a step adds to a fresh process, gradients included, in MiB."""
    from pathlib import Path

    folder = str(Path(__file__).parent)
    program = PEAK_PROGRAM.format(folder=folder, threads=THREADS, size=size, dim=dim, loss=loss)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize(("size", "dim"), SIZES)
def test_contrastive(compare: Comparison, matmul_flops: float, size: int, dim: int) -> None:
    inputs = problem(size, dim)
    torch.compiler.reset()
    compiled.cache_clear()
    peers = {
        "lean compiled": step(compiled(lean), *inputs),
        "lean": step(lean, *inputs),
        "two matmuls": step(two_matmuls, *inputs),
    }
    floor_s = 6 * size * size * dim / matmul_flops  # three products: logits, and one for each gradient
    rounds = min(50, max(5, int(2e10 / (size * size * dim))))
    compare.run(step(contrastive_loss, *inputs), peers, rounds=rounds, floor_s=floor_s)


def test_contrastive_large_batch(compare: Comparison, matmul_flops: float) -> None:
    size, dim = (256, 32) if SMOKE else (16384, 512)
    inputs = problem(size, dim)
    memory = {
        "peak MiB": peak_mib("contrastive_loss", size, dim),
        "lean peak MiB": peak_mib("lean", size, dim),
    }
    floor_s = 6 * size * size * dim / matmul_flops
    compare.run(
        step(contrastive_loss, *inputs), {"lean": step(lean, *inputs)}, rounds=2, floor_s=floor_s, **memory
    )
