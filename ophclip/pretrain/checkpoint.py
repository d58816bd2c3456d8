# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are whole or absent: safetensors and JSON in a folder that appears by one rename."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ophclip.errors import DamageError
from ophclip.models import DualEncoder
from ophclip.retrieval import SilentBank, load_bank

KEPT = 2


def save_checkpoint(
    folder: Path, step: int, model: DualEncoder, optimizer: torch.optim.Optimizer, bank: SilentBank
) -> None:
    """Write the state after `step` steps to `folder/step-<step>` and drop all but the newest two."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".tmp-{uuid.uuid4().hex}"
    temporary.mkdir()
    save_file(dict(model.state_dict()), temporary / "model.safetensors")
    save_file(_optimizer_tensors(optimizer), temporary / "optimizer.safetensors")
    bank.save(temporary / "bank")
    (temporary / "state.json").write_text(json.dumps({"step": step}))
    _sync_tree(temporary)
    target = folder / f"step-{step:08d}"
    if target.exists():
        shutil.rmtree(target)
    temporary.rename(target)
    _sync(folder)
    for outdated in _checkpoints(folder)[:-KEPT]:
        shutil.rmtree(outdated)


def load_checkpoint(
    folder: Path, model: DualEncoder, optimizer: torch.optim.Optimizer
) -> tuple[int, SilentBank] | None:
    """Restore the newest checkpoint; return its step and bank, or None where there is none.

    Raises:
        DamageError: the newest checkpoint cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover)
    checkpoints = _checkpoints(folder)
    if not checkpoints:
        return None
    newest = checkpoints[-1]
    try:
        model.load_state_dict(load_file(newest / "model.safetensors"))
        _restore_optimizer(optimizer, load_file(newest / "optimizer.safetensors"))
        step = int(json.loads((newest / "state.json").read_text())["step"])
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise DamageError(
            f"{newest} cannot be read: {error}", remedy=f"remove {newest} to resume from the one before"
        ) from error
    return step, load_bank(newest / "bank")


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value).clone()
        for index, entries in state.items()
        for name, value in entries.items()
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
