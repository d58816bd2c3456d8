# SPDX-License-Identifier: Apache-2.0
"""What this machine has: versions, decoders, codecs, the native kernels, a GPU; and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ophclip.ops.native import NativeStatus

PACKAGES = ("torch", "numpy", "zarr", "av", "transformers", "nvidia-dali-cuda130", "nvidia-dali-cuda120")
# FFmpeg's own "av1" only drives a GPU: without one of the libraries AV1 cannot be decoded here.
DECODED = {"av1": ("libdav1d", "libaom-av1")} | {
    name: (name,) for name in ("h264", "hevc", "vp8", "vp9", "mpeg2video", "mpeg4", "mjpeg")
}
ENCODED = {"h264": "libx264", "vp9": "libvpx-vp9"}


@dataclass(frozen=True)
class Diagnosis:
    """The findings of `ophclip doctor`; `advice` says what would make this machine better.

    `native` is whether the compiled kernels serve on the CPU, `isa` the instruction set they chose,
    `native_reason` why they do not serve. Versions are None where a package is not installed.
    """

    ophclip: str
    python: str
    machine: str
    cpus: int
    native: bool
    isa: str | None
    native_reason: str | None
    native_cuda: bool
    native_cuda_reason: str | None
    native_cuda_path: str | None
    gpu: str | None
    versions: dict[str, str | None]
    ffmpeg: str | None
    decodes: dict[str, bool]
    encodes: dict[str, bool]
    decoders: dict[str, bool]
    advice: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the findings as plain JSON types."""
        return asdict(self)


def diagnose() -> Diagnosis:
    """Look at this machine; nothing is changed and nothing is fetched."""
    import torch

    from ophclip import __version__
    from ophclip.ops import native_status

    native = native_status()
    versions = {name: _version(name) for name in PACKAGES}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    decodes, encodes, ffmpeg = _codecs()
    dali = any(version for name, version in versions.items() if "dali" in name)
    return Diagnosis(
        ophclip=__version__,
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        native=native.available,
        isa=native.isa,
        native_reason=native.reason,
        native_cuda=native.cuda,
        native_cuda_reason=native.cuda_reason,
        native_cuda_path=native.cuda_path,
        gpu=gpu,
        versions=versions,
        ffmpeg=ffmpeg,
        decodes=decodes,
        encodes=encodes,
        decoders={"pyav": ffmpeg is not None, "dali": dali},
        advice=_advice(native, gpu, dali, decodes),
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _codecs() -> tuple[dict[str, bool], dict[str, bool], str | None]:
    import av
    from av.codec import codecs_available

    decodes = {name: not codecs_available.isdisjoint(decoders) for name, decoders in DECODED.items()}
    encodes = {name: encoder in codecs_available for name, encoder in ENCODED.items()}
    versions = av.library_versions.get("libavcodec")
    return decodes, encodes, ".".join(map(str, versions)) if versions else None


def _advice(native: NativeStatus, gpu: str | None, dali: bool, decodes: dict[str, bool]) -> list[str]:
    undecodable = ", ".join(name for name, present in decodes.items() if not present)
    misnamed = not native.available and "OPHCLIP_ISA" in (native.reason or "")
    findings = [
        (misnamed, "losses and search refuse to run: unset OPHCLIP_ISA"),
        (
            not native.available and not misnamed,
            "losses and search run on plain torch, slower and with more memory: "
            "reinstall ophclip where a C++20 compiler is at hand",
        ),
        (
            bool(gpu) and not native.cuda,
            "the GPU runs plain torch instead of our kernels: reinstall ophclip where nvcc is at hand",
        ),
        (bool(gpu) and not dali, "video is decoded on the CPU: pip install 'ophclip[gpu]' uses the GPU"),
        (bool(undecodable), f"videos in {undecodable} will be listed as failed: install a fuller PyAV"),
    ]
    return [advice for found, advice in findings if found]
