# SPDX-License-Identifier: Apache-2.0
"""The CUDA sources, compiled for the CPU under csrc/cuda/emulation.h."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
import torch

SOURCES = Path(__file__).parents[2] / "csrc" / "cuda"
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-U_FORTIFY_SOURCE", "-w", "-Wno-psabi"]
DEFINES = ["-DOPHCLIP_EMULATE", "-DOPHCLIP_CUDA_MODULE=_cuda_emulated"]


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ to compile the CUDA sources for the CPU")
    import pybind11

    folder = tmp_path_factory.mktemp("emulated")
    includes = ["-I", pybind11.get_include(), "-I", sysconfig.get_path("include")]

    def compiled(source: Path) -> str:
        target = folder / f"{source.parent.name}_{source.stem}.o"
        command = [compiler, *FLAGS, *DEFINES, *includes, "-x", "c++", "-c", str(source), "-o", str(target)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr[-4000:]
        return str(target)

    library = folder / "_cuda_emulated.so"
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, [SOURCES / "bindings.cpp", *sorted(SOURCES.rglob("*.cu"))]))
    subprocess.run([compiler, "-shared", *objects, "-o", str(library)], check=True)
    spec = importlib.util.spec_from_file_location("_cuda_emulated", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)
