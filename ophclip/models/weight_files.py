# SPDX-License-Identifier: Apache-2.0
"""Read the tensors of a PyTorch or safetensors file that a stranger made; no code in it is ever run."""

from __future__ import annotations

import pickle
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ophclip.errors import DamageError, UsageError

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
# How torch names what it would not build out of a pickle.
_REFUSED = re.compile(r"(?<=GLOBAL )\S+|(?<=but got )<class .*?>|(?<=unrecognized function )\S+")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict: a .pth file, a .safetensors file, or a zip that holds one of them.

    A training checkpoint is unwrapped (its "state_dict"), and the "module." of distributed training stripped.
    Entries that are no tensors are left out.

    Raises:
        UsageError: there is no such file, it holds code, or it holds no tensors.
        DamageError: the file cannot be read.
    """
    if not path.is_file():
        raise UsageError(
            f"no weights at {path}", remedy="pass a .pth or .safetensors file, or a zip with one"
        )
    content = _read(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    entries = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value for name, value in entries if isinstance(value, Tensor)}
    if not tensors:
        raise UsageError(
            f"{path} must hold a state dict, got {_describe(content)}", remedy="pass the weights' own file"
        )
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        member = _member(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise _damage(path, error) from error
    return _read_torch(path) if member is None else _read_member(path, member)


def _member(path: Path) -> zipfile.ZipInfo | None:
    """Return the one file of weights in a zip; None for torch's own format, which is a zip too."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(Path(member.filename).name == "data.pkl" for member in members):
        return None
    weights = [
        member
        for member in members
        if member.filename.endswith(SUFFIXES) and not Path(member.filename).name.startswith("._")
    ]
    if len(weights) != 1:
        raise UsageError(
            f"{path} must hold one file of weights, got {len(weights)}",
            remedy=f"unpack it and pass the {SUFFIXES[0]} file that you mean",
        )
    return weights[0]


def _read_member(path: Path, member: zipfile.ZipInfo) -> Any:
    with tempfile.TemporaryDirectory(prefix="ophclip-") as folder:
        unpacked = Path(folder) / f"weights{Path(member.filename).suffix}"
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as packed, unpacked.open("wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
            raise _damage(path, error) from error  # a RuntimeError: it asks for a password
        if unpacked.suffix == ".safetensors":
            return _read_safetensors(unpacked, path)
        return _read_torch(unpacked, path)


def _read_safetensors(path: Path, named: Path | None = None) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damage(named or path, error) from error


def _read_torch(path: Path, named: Path | None = None) -> Any:
    shown = named or path
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # unpickling noise raises errors of every kind
        if isinstance(error, pickle.UnpicklingError) and (refused := _REFUSED.search(str(error))):
            raise UsageError(
                f"{shown} holds {refused[0]}, which is not a tensor and may run code; it was not loaded",
                remedy="where you trust the file, load it in Python and save its state_dict alone",
            ) from error
        raise _damage(shown, error) from error


def _damage(path: Path, error: Exception) -> DamageError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DamageError(f"{path} cannot be read: {reason}", remedy="fetch the file again")


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a mapping with {', '.join(map(repr, list(content)[:5])) or 'nothing in it'}"
    return f"a {type(content).__name__}"
