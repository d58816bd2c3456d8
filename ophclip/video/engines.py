# SPDX-License-Identifier: Apache-2.0
"""How many videos a GPU decodes side by side: a pipeline keeps one of its decode engines busy, no more."""

from __future__ import annotations

# Engines (NVDEC) of a chip by a word of its name, from NVIDIA's decode support matrix; the driver tells none.
NVDEC = {
    "H100": 7,
    "H200": 7,
    "GH200": 7,
    "A100": 5,
    "A30": 4,
    "L4": 4,
    "L40": 3,
    "L40S": 3,
    "A10": 2,
    "A10G": 2,
    "A40": 2,
    "T4": 2,
    "V100": 1,
}
UNKNOWN = 2  # where a second pipeline has no engine, it still hides the gaps of the first


def num_engines(device: str) -> int:
    """Return how many pipelines suit `device` ("cpu", "cuda", "cuda:N"): one without a GPU."""
    if not device.startswith("cuda"):
        return 1
    import torch

    return engines_of(torch.cuda.get_device_name(device))


def engines_of(gpu: str) -> int:
    """Return the number of decode engines of a GPU by its name, as "NVIDIA A100-SXM4-80GB"."""
    words = gpu.upper().replace("-", " ").split()
    return next((NVDEC[word] for word in words if word in NVDEC), UNKNOWN)
