# SPDX-License-Identifier: Apache-2.0
"""The one door to the compiled kernels: loads them, or says why they are not used."""

from __future__ import annotations

import functools
import importlib
import os
import sysconfig
import warnings
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

REQUIRE_NATIVE = "OPHCLIP_REQUIRE_NATIVE"
NEEDED = {"_native": "a C++20 compiler", "_cuda": "nvcc"}


@dataclass(frozen=True)
class NativeStatus:
    """Whether the compiled kernels serve here; `reason` and `cuda_reason` say why not."""

    available: bool
    isa: str | None  # "avx512", "avx2" or "portable"
    reason: str | None
    cuda: bool
    cuda_reason: str | None
    cuda_path: str | None = None  # "hopper" or "portable": the kernels that 16-bit, aligned rows get


def native_status() -> NativeStatus:
    """Load the compiled kernels if that has not been tried, and say what came of it."""
    cpu, reason = _load("_native")
    cuda, cuda_reason = _load_cuda()
    isa = None
    if cpu is not None:
        try:
            isa = str(cpu.selected_isa())
        except ValueError as error:  # OPHCLIP_ISA names one that this CPU lacks
            cpu, reason = None, str(error)
    cuda_path = None
    if cuda is not None:
        try:
            cuda_path = str(cuda.kernel_path())
        except ValueError as error:  # OPHCLIP_CUDA_PATH names one that is unknown or not for this device
            cuda, cuda_reason = None, str(error)
    return NativeStatus(cpu is not None, isa, reason, cuda is not None, cuda_reason, cuda_path)


@functools.cache
def cpu_kernels() -> ModuleType | None:
    """Return the CPU kernels, or None, with one warning, where plain torch must serve.

    Raises:
        RuntimeError: they are missing and OPHCLIP_REQUIRE_NATIVE=1, or OPHCLIP_ISA cannot be met.
    """
    module, reason = _load("_native")
    if module is not None:
        module.selected_isa()  # a wrong OPHCLIP_ISA is an error, not a reason to be slow
        return module
    if os.environ.get(REQUIRE_NATIVE) == "1":
        raise RuntimeError(f"{REQUIRE_NATIVE}=1, but the native kernels cannot be used: {reason}")
    warnings.warn(f"plain torch serves instead of the native kernels: {reason}", RuntimeWarning, stacklevel=3)
    return None


@functools.cache
def cuda_kernels() -> ModuleType | None:
    """Return the CUDA kernels, or None, with one warning, where plain torch must serve.

    Raises:
        RuntimeError: they are missing and OPHCLIP_REQUIRE_NATIVE=1.
    """
    module, reason = _load_cuda()
    if module is not None:
        return module
    if os.environ.get(REQUIRE_NATIVE) == "1":
        raise RuntimeError(f"{REQUIRE_NATIVE}=1, but the CUDA kernels cannot be used: {reason}")
    warnings.warn(f"plain torch serves instead of the CUDA kernels: {reason}", RuntimeWarning, stacklevel=3)
    return None


@functools.cache
def _load(name: str) -> tuple[ModuleType | None, str | None]:
    full_name = f"ophclip.{name}"
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    built = sorted(path.name for path in Path(__file__).parents[1].glob(f"{name}.*"))
    if not built:
        return None, f"ophclip/{name}{suffix} was not built; reinstall ophclip with {NEEDED[name]} at hand"
    if not {f"{name}{ending}" for ending in EXTENSION_SUFFIXES} & set(built):
        return None, f"built for another Python ({', '.join(built)}), this one loads *{suffix}; reinstall"
    try:
        return importlib.import_module(full_name), None
    except ImportError as error:
        return None, f"ophclip/{built[0]} cannot be loaded: {error}"


@functools.cache
def _load_cuda() -> tuple[ModuleType | None, str | None]:
    module, reason = _load("_cuda")
    if module is None:
        return None, reason
    try:
        devices = int(module.device_count())
    except RuntimeError as error:
        return None, f"CUDA answers: {error}"
    return (module, None) if devices else (None, "built, but there is no CUDA device")
