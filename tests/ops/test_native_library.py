# SPDX-License-Identifier: Apache-2.0
"""How the compiled kernels are found, chosen and done without, each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import ophclip
from ophclip.ops import native_status

OPERATOR_TESTS = ["test_contrastive_loss.py", "test_topk_search.py"]

PROGRAM = """
import torch, json
from ophclip.ops import contrastive_loss, native_status, topk
generator = torch.Generator().manual_seed(0)
a, b = torch.randn(2, 70, 33, generator=generator)
a.requires_grad_()
loss = contrastive_loss(a, b, 0.5)
loss.backward()
scores, ids = topk(b[:5], a.detach(), 4)
status = native_status()
print(json.dumps([loss.item(), a.grad.norm().item(), ids.flatten().tolist(), status.isa, status.reason]))
"""


def run(program: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    path = {"PYTHONPATH": str(folder)} if folder else {}
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **path, **environment},
        cwd=folder,
        timeout=120,
    )


@pytest.fixture
def bare_package(tmp_path: Path) -> Path:
    """A copy of the package without its libraries."""
    source = Path(ophclip.__file__).parent
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(source, tmp_path / "ophclip", ignore=ignored)
    return tmp_path


def isas() -> list[str]:
    from ophclip import _native

    return list(_native.supported_isas())


def test_the_library_is_built_and_names_its_instruction_set() -> None:
    status = native_status()
    assert status.available, status.reason
    assert status.isa in isas()


@pytest.mark.parametrize("isa", ["avx512", "avx2", "portable"])
def test_every_instruction_set_gives_the_same_result(isa: str) -> None:
    if isa not in isas():
        pytest.skip(f"this CPU has no {isa}")
    chosen, best = run(PROGRAM, OPHCLIP_ISA=isa), run(PROGRAM)
    assert chosen.returncode == 0, chosen.stderr
    found, expected = json.loads(chosen.stdout), json.loads(best.stdout)
    assert found[3] == isa
    assert found[:2] == pytest.approx(expected[:2], rel=1e-5)
    assert found[2] == expected[2]


@pytest.mark.parametrize("isa", ["avx2", "portable"])
def test_every_instruction_set_passes_the_tests_of_the_operators(isa: str) -> None:
    # Beside the one that this process has chosen. What compiles, or needs a GPU, does not depend on it.
    if isa not in isas():
        pytest.skip(f"this CPU has no {isa}")
    files = [str(Path(__file__).with_name(name)) for name in OPERATOR_TESTS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu"]
    environment = {**os.environ, "OPHCLIP_ISA": isa}
    done = subprocess.run([*command, *files], capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:]


def test_an_instruction_set_that_is_not_there_is_an_error() -> None:
    done = run(PROGRAM, OPHCLIP_ISA="sse9")
    assert done.returncode != 0
    assert "OPHCLIP_ISA must be one that this CPU has" in done.stderr


def test_without_the_library_plain_torch_serves_with_one_warning(bare_package: Path) -> None:
    bare, full = run(PROGRAM, bare_package), run(PROGRAM)
    assert bare.returncode == 0, bare.stderr
    assert bare.stderr.count("plain torch serves instead of the native kernels") == 1
    found, expected = json.loads(bare.stdout), json.loads(full.stdout)
    assert found[:2] == pytest.approx(expected[:2], rel=1e-5)
    assert found[2] == expected[2]
    assert found[3] is None
    assert "was not built" in found[4]


def test_a_missing_library_is_an_error_where_it_is_required(bare_package: Path) -> None:
    done = run(PROGRAM, bare_package, OPHCLIP_REQUIRE_NATIVE="1")
    assert done.returncode != 0
    assert "the native kernels cannot be used" in done.stderr


def test_a_broken_library_says_what_the_loader_says(bare_package: Path) -> None:
    broken = bare_package / "ophclip" / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    broken.write_bytes(b"not a library")
    done = run(PROGRAM, bare_package)
    assert done.returncode == 0, done.stderr
    assert "cannot be loaded" in done.stdout
    (bare_package / "ophclip" / broken.name).rename(bare_package / "ophclip" / "_native.cpython-27-other.so")
    assert "built for another Python" in run(PROGRAM, bare_package).stdout


def test_a_forked_process_computes_too() -> None:
    # Sizes that our kernels split over threads and torch does not: torch's own threads do not survive a fork.
    program = """
import os, torch
from ophclip.ops import contrastive_loss, topk
torch.set_num_threads(2)
a, b = torch.randn(2, 300, 100, generator=torch.Generator().manual_seed(0))
a.requires_grad_()
def compute():
    (gradient,) = torch.autograd.grad(contrastive_loss(a, b, 0.5), a)
    return [gradient, *topk(b, a.detach(), 5)]
expected = compute()
pid = os.fork()
if pid == 0:
    os._exit(0 if all(map(torch.equal, compute(), expected)) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = run(program)
    assert done.stdout == "0\n", done.stderr


def test_addresses_out_of_order_are_refused_not_followed() -> None:
    from ophclip import _native

    with pytest.raises(ValueError, match="sizes must not be negative"):
        _native.topk(
            queries=0, rows=0, panels=0, q=-1, n=1, d=1, k=1, exclude_indptr=0, exclude_indices=0,
            num_excluded=0, scores=0, ids=0, threads=1,
        )  # fmt: skip


def test_random_calls_right_and_wrong_neither_crash_nor_leak() -> None:
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), "--seconds", "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
