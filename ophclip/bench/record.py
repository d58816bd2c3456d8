# SPDX-License-Identifier: Apache-2.0
"""What a measurement depends on: a figure without its machine, versions and threads says nothing."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from ophclip._version import __version__
from ophclip.bench.session import Session

PACKAGES = (
    "faiss-cpu",
    "inf-cl",
    "liger-kernel",
    "flashlib",
    "cuvs-cu13",
    "triton",
)
SWITCHES = ("OPHCLIP_ISA", "OPHCLIP_CUDA_PATH")


def machine_facts(session: Session, command: str) -> dict[str, Any]:
    """Return date, command, versions, CPU, GPU, threads and instruction set as plain JSON types."""
    import torch

    from ophclip.ops import native_status

    status = native_status()
    on_gpu = session.device.type == "cuda"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "device": session.device.type,
        "threads": session.threads,
        "ceilings": session.ceilings(),
        "notes": session.notes,
        "isa": status.isa,
        "native": status.cuda if on_gpu else status.available,
        "native_reason": status.cuda_reason if on_gpu else status.reason,
        "cpu": cpu_name(),
        "gpu": torch.cuda.get_device_name(session.device) if on_gpu else None,
        "ophclip": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_gpu else None,
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "switches": {name: os.environ[name] for name in SWITCHES if name in os.environ},
    }


def cpu_name() -> str:
    """The processor's name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
