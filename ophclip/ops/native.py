# SPDX-License-Identifier: Apache-2.0
"""The one door to the compiled kernels: finds them, or says why they are not used."""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class NativeStatus:
    """Whether the compiled kernels serve here; `reason` and `cuda_reason` say why not."""

    available: bool
    isa: str | None
    reason: str | None
    cuda: bool
    cuda_reason: str | None


def native_status() -> NativeStatus:
    """Try to load the compiled kernels."""
    cpu_reason, cuda_reason = _why_not("ophclip._native"), _why_not("ophclip._cuda")
    return NativeStatus(cpu_reason is None, None, cpu_reason, cuda_reason is None, cuda_reason)


def _why_not(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        return str(error)
    return None
