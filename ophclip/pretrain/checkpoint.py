# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are whole or absent: a folder that appears by one rename, with a hash of each file.

step-00001000/model.toml, model.safetensors    a run folder of its own: evaluate and search take it
              heads.safetensors                what serves training alone
              optimizer.safetensors, bank/
              state.json                       step, hashes, the best step so far, the cache's encoder
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ophclip import console
from ophclip.errors import DamageError, UsageError
from ophclip.files import fsync_folder, write_file
from ophclip.models import save_model
from ophclip.pretrain.state import TrainState
from ophclip.retrieval import load_bank

STATE = "state.json"


def save_checkpoint(folder: Path, step: int, state: TrainState, facts: Mapping[str, Any]) -> None:
    """Write the state after `step` steps to `folder/step-<step>`, with `facts` of plain JSON types.

    A checkpoint of that step that is there already stays: it is of the same run, so the same.
    """
    from safetensors.torch import save_file

    target = folder / f"step-{step:08d}"
    if target.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".tmp-{uuid.uuid4().hex}"
    temporary.mkdir()
    save_model(state.model, temporary)
    save_file(_on_cpu(state.objective.state_dict()), temporary / "heads.safetensors")
    save_file(_optimizer_tensors(state.optimizer), temporary / "optimizer.safetensors")
    state.bank.save(temporary / "bank")
    written = {"step": step, "files": _hashes(temporary), **facts}
    write_file(temporary / STATE, json.dumps(written, indent=2).encode())
    _sync_tree(temporary)
    temporary.rename(target)
    fsync_folder(folder)


def prune_checkpoints(folder: Path, keep: int, best: int | None) -> None:
    """Remove all checkpoints but the newest `keep` and that of step `best`."""
    for outdated in checkpoints(folder)[:-keep]:
        if outdated.name != f"step-{best or 0:08d}":
            # By a rename first: what is removed halfway must not look like a checkpoint.
            leftover = folder / f".tmp-{uuid.uuid4().hex}"
            outdated.rename(leftover)
            shutil.rmtree(leftover)


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*"))


def newest_sound(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest undamaged checkpoint and its `state.json`, or None where there never was one.

    Damaged ones are said on stderr and set aside as `damaged-step-...`; remains of a killed process go.

    Raises:
        DamageError: there are checkpoints, and all of them are damaged.
    """
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover)
    found = checkpoints(folder)
    for checkpoint in reversed(found):
        try:
            return checkpoint, _read_state(checkpoint)
        except DamageError as error:
            aside = folder / f"damaged-{checkpoint.name}"
            if aside.exists():
                aside = folder / f"{aside.name}-{uuid.uuid4().hex}"
            checkpoint.rename(aside)
            console.warn(f"{error.message}; it is kept as {aside.name}, and the one before is taken")
    if found:
        raise DamageError(f"every checkpoint in {folder} is damaged", remedy="begin anew: pass another --out")
    return None


def load_checkpoint(checkpoint: Path, state: TrainState) -> None:
    """Restore the state from a checkpoint that `newest_sound` gave.

    Raises:
        DamageError: it cannot be read, or does not fit the configuration.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state.model.load_state_dict(load_file(checkpoint / "model.safetensors"))
        state.objective.load_state_dict(load_file(checkpoint / "heads.safetensors"))
        _restore_optimizer(state.optimizer, load_file(checkpoint / "optimizer.safetensors"))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise DamageError(
            f"{checkpoint} cannot be read: {error}",
            remedy=f"remove {checkpoint} to resume from the one before",
        ) from error
    bank = state.bank
    state.bank = load_bank(checkpoint / "bank", key=bank.key, momentum=bank.momentum, device=bank.keys.device)
    if state.bank.ids != bank.ids:
        raise UsageError(
            f"the silent videos must be those of {checkpoint}: {len(state.bank)}, got {len(bank)} others",
            remedy="give the corpus and the cache back what they held, or begin anew",
        )


def _read_state(checkpoint: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        hashes = stored["files"]
        found = _hashes(checkpoint)
        found.pop(STATE, None)
        if not isinstance(stored["step"], int) or found.keys() != hashes.keys():
            raise ValueError(f"it must hold {', '.join(sorted(hashes))}, got {', '.join(sorted(found))}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamageError(f"checkpoint {checkpoint} is damaged: {error}", remedy="remove it") from error
    changed = [name for name in hashes if hashes[name] != found[name]]
    if changed:
        raise DamageError(
            f"checkpoint {checkpoint} is damaged: {', '.join(changed)} changed since written",
            remedy="remove it",
        )
    return stored


def _hashes(folder: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value).detach().cpu().clone()
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
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
