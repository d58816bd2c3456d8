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
    "contrastive_reductions.cu": {"merge_stats_kernel": 1, "loss_kernel": 1, "grad_scale_kernel": 2},
    "device.cu": {},
    "path.cu": {},
    "topk.cu": {"topk_scan_kernel": 3},
    "topk_lists.cu": {"topk_merge_kernel": 2},
    "hopper/contrastive.cu": {
        "hopper_logits_stats_kernel": 2,
        "hopper_grad_logits_kernel": 2,
        "hopper_grad_products_kernel": 2,
    },
    "hopper/tensor_map.cu": {},
    "hopper/topk.cu": {"hopper_topk_scan_kernel": 8},
}
REPORT = re.compile(r"entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads", re.DOTALL)


PRODUCTS_WAIT = ("wgmma", "C7510", "C7508")  # ptxas: products in series, or register shares ignored


def test_the_list_names_every_source() -> None:
    assert {str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.cu")} == set(KERNELS)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", sorted(KERNELS))
def test_kernels_compile_without_spills(tmp_path: Path, source: str, architecture: str) -> None:
    report = compiler_report(tmp_path, source, architecture)
    assert not any(word in report for word in PRODUCTS_WAIT), report[-4000:]
    spills = {name: (int(stores), int(loads)) for name, stores, loads in REPORT.findall(report)}
    for kernel, count in KERNELS[source].items():
        assert sum(kernel in name for name in spills) == count, (
            f"{kernel}: expected {count} instances in {list(spills)}"
        )
    assert {name: spill for name, spill in spills.items() if spill != (0, 0)} == {}


@pytest.mark.parametrize("source", ["hopper/contrastive.cu", "hopper/topk.cu"])
def test_hopper_kernels_multiply_on_warpgroups_and_copy_in_bulk(tmp_path: Path, source: str) -> None:
    compiler_report(tmp_path, source, "arch=compute_90a,code=compute_90a")
    text = (tmp_path / "kernels.o").read_bytes()
    for instruction in (
        b"wgmma.mma_async.sync.aligned.m64n256k16",
        b"cp.async.bulk.tensor.2d",
        b"setmaxnreg.inc",
    ):
        assert instruction in text


def compiler_report(folder: Path, source: str, architecture: str) -> str:
    compiler = shutil.which("nvcc")
    if compiler is None:
        pytest.skip("needs nvcc")
    command = [
        compiler,
        "-std=c++17",
        "-O3",
        f"-gencode={architecture}",
        "-Xfatbin=-compress-mode=none",
        "-Xptxas",
        "-v",
        "-Werror",
        "all-warnings",
    ]
    built = subprocess.run(
        [*command, "-c", str(SOURCES / source), "-o", str(folder / "kernels.o")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-4000:]
    return built.stderr
