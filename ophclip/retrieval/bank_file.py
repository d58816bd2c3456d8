# SPDX-License-Identifier: Apache-2.0
"""A bank on disk: one safetensors file, replaced at once, with the ids and a checksum in its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ophclip.errors import DamageError
from ophclip.files import replacement

FORMAT = 1
FILE = "bank.safetensors"


def write_bank(folder: Path, ids: Sequence[str], tensors: dict[str, Tensor]) -> None:
    """Write the tensors of a bank and the ids of its slots into `folder`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = {"format": FORMAT, "ids": list(ids), "checksum": _checksum(ids, held)}
    with replacement(folder / FILE) as temporary:
        # One entry: safetensors writes several in any order, and the same bank must have the same bytes.
        save_file(held, temporary, metadata={"bank": json.dumps(about, ensure_ascii=False)})


def read_bank(folder: Path) -> tuple[list[str], dict[str, Tensor]]:
    """Read what `write_bank` wrote.

    Raises:
        DamageError: the file is missing, cut, or changed.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, framework="pt") as stored:
            about = json.loads((stored.metadata() or {})["bank"])
            tensors = {name: stored.get_tensor(name) for name in ("keys", "values", "steps")}
        ids = about["ids"]
        if about["format"] != FORMAT:
            raise ValueError(f"it has format {about['format']!r}, not {FORMAT!r}")
        if about["checksum"] != _checksum(ids, tensors):
            raise ValueError("its contents do not match its checksum")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DamageError(f"{folder} is not a bank: {error}", remedy="run pretrain --resume") from error
    return ids, tensors


def _checksum(ids: Sequence[str], tensors: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(json.dumps(list(ids)).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))  # type: ignore[arg-type]
    return digest.hexdigest()
