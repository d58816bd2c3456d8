# SPDX-License-Identifier: Apache-2.0
"""A packed base as one file, mapped into memory on reading: opening is instant, processes share its pages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from ophclip.files import replacement, write_all
from ophclip.ops.pack import PackedBase, QuantisedRows
from ophclip.ops.quantise import FACTS, PANEL, WORDS

FORMAT = "1"
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8"}  # as safetensors names them
LENGTH_BYTES = 8  # of the header's length, in front of it
ALIGNMENT = 64  # a cache line
CHECKED = ("facts", "centre")  # small, and what exactness rests on: read and compared on opening


def save_packed(base: PackedBase, path: Path) -> None:
    """Write the base as one safetensors file, which replaces an old one at once."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in base.tensors().items()}
    about = {
        "packed_base": FORMAT,
        "precision": base.precision,
        "num_rows": str(base.num_rows),
        "dim": str(base.dim),
        "sha256": _digest(tensors),
    }
    with replacement(path) as temporary, temporary.open("xb", buffering=0) as file:
        write_all(file.fileno(), _header(about, tensors))
        for tensor in tensors.values():
            write_all(file.fileno(), _bytes(tensor))


def load_packed(path: Path) -> PackedBase:
    """Map a base that `PackedBase.save` wrote.

    The panels and rows stay on disk until a search reads them. That they are what was written is not checked,
    which would mean to read them; everything else is.

    Raises:
        ValueError: the file is not a packed base, not whole, or was changed.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            about = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        return _checked(about, tensors)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a packed base: {error}; pack and save it again") from error


def _checked(about: dict[str, str], tensors: dict[str, Tensor]) -> PackedBase:
    if about.get("packed_base") != FORMAT:
        raise ValueError(f"its format must be {FORMAT}, got {about.get('packed_base')!r}")
    precision, num_rows, dim = about["precision"], int(about["num_rows"]), int(about["dim"])
    expected = _layout(precision, num_rows, dim)
    found = {name: (list(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    if found != expected:
        raise ValueError(f"{num_rows} rows in {precision} must be {expected}, got {found}")
    if _digest(tensors) != about["sha256"]:
        raise ValueError("its facts are not those that were written")
    quantised = (
        QuantisedRows(tensors["facts"], tensors["rows"], tensors["centre"]) if "facts" in tensors else None
    )
    return PackedBase(tensors["panels"], num_rows, precision, quantised)  # type: ignore[arg-type]


def _layout(precision: str, num_rows: int, dim: int) -> dict[str, tuple[list[int], torch.dtype]]:
    if num_rows < 0 or dim < 0:
        raise ValueError(f"sizes must not be negative, got {num_rows} rows of {dim}")
    num_panels = -(-num_rows // PANEL)
    if precision == "fp32":
        return {"panels": ([num_panels, dim, PANEL], torch.float32)}
    if precision not in WORDS:
        raise ValueError(f"its precision must be fp32, bf16 or int8, got {precision!r}")
    per_word, dtype = WORDS[precision]
    return {
        "panels": ([num_panels, -(-dim // per_word), PANEL, per_word], dtype),
        "rows": ([num_rows, dim], torch.float32),
        "facts": ([num_panels, FACTS, PANEL], torch.float32),
        "centre": ([dim], torch.float32),
    }


def _header(about: dict[str, str], tensors: dict[str, Tensor]) -> bytes:
    # safetensors' own writer aligns the data to 8 bytes, and copies it first. Kernels read whole cache lines.
    entries: dict[str, object] = {"__metadata__": about}
    end = 0
    for name, tensor in tensors.items():
        first, end = end, end + tensor.nbytes
        entries[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [first, end],
        }
    text = json.dumps(entries).encode()
    text += b" " * (-(len(text) + LENGTH_BYTES) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in CHECKED:
        if name in tensors:
            digest.update(_bytes(tensors[name]))
    return digest.hexdigest()
