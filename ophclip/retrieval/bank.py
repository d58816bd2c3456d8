# SPDX-License-Identifier: Apache-2.0
"""A memory of silent videos: a text key and a visual value for each, and when they were last computed."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ophclip.errors import DamageError, UsageError
from ophclip.ops import topk
from ophclip.ops.reference import Exclusions

NEVER = -1


class SilentBank:
    """Keys `[M, D]` (title embeddings) and values `[M, D]` (video embeddings) of M silent videos, normalised.

    `steps` `[M]` holds the training step at which each slot was last written, -1 for never. Rows of the
    bank are constants: no gradient flows into them.
    """

    def __init__(self, ids: Sequence[str], dim: int) -> None:
        if len(set(ids)) != len(ids):
            raise UsageError("the ids of a bank must be distinct", remedy="drop the duplicates")
        self.ids = list(ids)
        self.slots = {video_id: slot for slot, video_id in enumerate(self.ids)}
        self.keys = torch.zeros(len(ids), dim)
        self.values = torch.zeros(len(ids), dim)
        self.steps = torch.full((len(ids),), NEVER, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def update(self, ids: Sequence[str], keys: Tensor, values: Tensor, step: int) -> None:
        """Overwrite the slots of `ids` with `keys` and `values` `[n, D]`; both are normalised here."""
        slots = torch.tensor([self.slots[video_id] for video_id in ids], dtype=torch.int64)
        self.keys[slots] = F.normalize(keys.detach().float().cpu(), dim=1)
        self.values[slots] = F.normalize(values.detach().float().cpu(), dim=1)
        self.steps[slots] = step

    def max_age(self, step: int) -> int:
        """Return how many steps ago the oldest slot was written; one never written counts as `step + 1`."""
        return int(step - self.steps.min()) if len(self) else 0

    def retrieve(
        self, queries: Tensor, k: int, *, exclude: Exclusions | None = None
    ) -> tuple[Tensor, Tensor]:
        """Find the `k` slots whose keys have the largest inner product with each query `[Q, D]`.

        Returns scores `[Q, k]` and slots `[Q, k]`, best first; see `ophclip.ops.topk`.

        Raises:
            UsageError: the bank holds fewer than `k` videos, or slots that were never written.
        """
        if k > len(self):
            raise UsageError(
                f"the bank must hold at least num_retrieved = {k} silent videos, got {len(self)}",
                remedy=f"set num_retrieved={len(self)}, or add silent videos to the corpus",
            )
        if bool((self.steps == NEVER).any()):
            raise UsageError("the bank holds slots that were never written", remedy="refresh it first")
        return topk(queries.detach().float().cpu(), self.keys, k, exclude=exclude)

    def save(self, folder: Path) -> None:
        """Write the bank as a folder; an earlier one is replaced at once."""
        from safetensors.torch import save_file

        temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
        temporary.mkdir(parents=True)
        tensors = {"keys": self.keys, "values": self.values, "steps": self.steps}
        save_file(tensors, temporary / "bank.safetensors")
        (temporary / "ids.json").write_text(json.dumps(self.ids, ensure_ascii=False), encoding="utf-8")
        if folder.exists():
            outdated = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
            folder.rename(outdated)
            temporary.rename(folder)
            shutil.rmtree(outdated)
        else:
            os.replace(temporary, folder)  # noqa: PTH105


def load_bank(folder: Path) -> SilentBank:
    """Read a bank that `SilentBank.save` wrote.

    Raises:
        DamageError: the folder is incomplete or its parts do not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        ids = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "bank.safetensors")
        bank = SilentBank(ids, tensors["keys"].shape[1])
        for name in ("keys", "values", "steps"):
            stored = getattr(bank, name)
            if tensors[name].shape != stored.shape:
                raise ValueError(f"{name} has shape {list(tensors[name].shape)}, not {list(stored.shape)}")
            setattr(bank, name, tensors[name])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DamageError(f"{folder} is not a bank: {error}", remedy="run pretrain --resume") from error
    return bank
