# SPDX-License-Identifier: Apache-2.0
"""The emulation stops a kernel that would hang or race on Hopper: what the kernel tests rely on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "csrc" / "cuda"
FAULTS = {
    "endless wait": "waits for what never comes",
    "missing bytes": "waits for what never comes",
    "excess arrival": "expects no more arrivals",
    "unaligned box": "off the swizzle's period",
    "box in flight": "a bulk copy is never waited for",
    "product in flight": "leaves products unfinished",
    "other descriptor": "issue different products",
    "half a warpgroup": "waits for what never comes",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ to compile the emulation")
    target = tmp_path_factory.mktemp("faults") / "faults"
    source = Path(__file__).with_name("emulation_faults.cpp")
    flags = ["-std=c++17", "-O1", "-U_FORTIFY_SOURCE", "-w", "-DOPHCLIP_EMULATE", "-I", str(SOURCES)]
    built = subprocess.run(
        [compiler, *flags, str(source), "-o", str(target)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-4000:]
    return target


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_ends_the_process_and_says_why(program: Path, fault: str) -> None:
    ended = subprocess.run([program, fault], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode != 0
    assert FAULTS[fault] in ended.stderr


def test_a_kernel_that_keeps_the_rules_ends_well(program: Path) -> None:
    ended = subprocess.run([program, "none"], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "unharmed\n")
