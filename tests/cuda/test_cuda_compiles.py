# SPDX-License-Identifier: Apache-2.0
"""The CUDA sources compile for every supported architecture, and no kernel spills registers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "csrc" / "cuda"
ARCHITECTURES = ["arch=compute_80,code=sm_80", "arch=compute_90a,code=sm_90a"]
KERNELS = {
    "contrastive.cu": {"logits_stats_kernel": 3, "grad_logits_kernel": 3, "grad_product_kernel": 6},
    "topk.cu": {"topk_scan_kernel": 3, "topk_merge_kernel": 2},
    "device.cu": {},
}
REPORT = re.compile(r"entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads", re.DOTALL)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", sorted(KERNELS))
def test_kernels_compile_without_spills(tmp_path: Path, source: str, architecture: str) -> None:
    compiler = shutil.which("nvcc")
    if compiler is None:
        pytest.skip("needs nvcc")
    command = [
        compiler,
        "-std=c++17",
        "-O3",
        f"-gencode={architecture}",
        "-Xptxas",
        "-v",
        "-Werror",
        "all-warnings",
    ]
    built = subprocess.run(
        [*command, "-c", str(SOURCES / source), "-o", str(tmp_path / "kernels.o")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-4000:]
    spills = {name: (int(stores), int(loads)) for name, stores, loads in REPORT.findall(built.stderr)}
    for kernel, count in KERNELS[source].items():
        assert sum(kernel in name for name in spills) == count, (
            f"{kernel}: expected {count} instances in {list(spills)}"
        )
    assert {name: spill for name, spill in spills.items() if spill != (0, 0)} == {}
