# SPDX-License-Identifier: Apache-2.0
"""A memory of silent videos: a text key and a visual value for each, and when they were last computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ophclip import console
from ophclip.errors import OphclipError, UsageError
from ophclip.ops.reference import Exclusions
from ophclip.retrieval.bank_file import read_bank, write_bank
from ophclip.retrieval.index import SearchIndex

Key = Literal["text", "visual", "sum"]

NEVER = -1


class SilentBank:
    """Keys `[M, D]` (title embeddings) and values `[M, D]` (video embeddings) of M silent videos, normalised.

    `steps` `[M]`, on the CPU, holds the training step at which each slot was last written, -1 for never. Rows
    of the bank are constants: no gradient flows into them.

    Args:
        ids: of the videos, distinct; their order is that of the slots.
        dim: length of an embedding, D.
        key: what queries are compared with: "text" (keys), "visual" (values), or their normalised "sum".
        momentum: share of the old embedding that stays when a slot is written again, in [0, 1).
        device: where keys and values lie.
    """

    def __init__(
        self,
        ids: Sequence[str],
        dim: int,
        *,
        key: Key = "text",
        momentum: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.ids = list(ids)
        self.slots = {video_id: slot for slot, video_id in enumerate(self.ids)}
        if len(self.slots) != len(self.ids):
            raise UsageError("the ids of a bank must be distinct", remedy="drop the duplicates")
        if not 0 <= momentum < 1:
            raise UsageError(f"momentum must lie in [0, 1), got {momentum}", remedy="set bank_momentum=0")
        self.key, self.momentum = key, momentum
        self.keys = torch.zeros(len(self.ids), dim, device=device)
        self.values = torch.zeros(len(self.ids), dim, device=device)
        self.steps = torch.full((len(self.ids),), NEVER, dtype=torch.int64)
        self._index = SearchIndex()
        self._has_warned = False

    def __len__(self) -> int:
        return len(self.ids)

    def update(self, ids: Sequence[str], keys: Tensor, values: Tensor, step: int) -> None:
        """Write the slots of `ids` with `keys` and `values` `[n, D]`; both are normalised here.

        Raises:
            UsageError: an id is not in the bank, or comes twice.
            OphclipError: an embedding is not finite; the video is named.
        """
        slots = self._slots_of(ids)
        for name, rows in (("title", keys), ("video", values)):
            finite = torch.isfinite(rows.detach()).all(dim=1)
            if not bool(finite.all()):
                culprit = ids[int((~finite).nonzero()[0])]
                raise OphclipError(
                    f"the {name} embedding of silent video {culprit!r} is not finite at step {step}",
                    remedy="look at this video, or lower lr",
                )
        for stored, rows in ((self.keys, keys), (self.values, values)):
            stored[slots] = self._blended(stored, slots, rows)
        self.steps[slots] = step
        self._index.mark(slots)

    def ages(self, step: int) -> Tensor:
        """Return how many steps ago each slot was written, int64 `[M]`; never counts as `step + 1`."""
        return step - self.steps

    def max_age(self, step: int) -> int:
        """Return the age of the oldest slot; 0 for an empty bank."""
        return int(self.ages(step).max()) if len(self) else 0

    def retrieve(
        self,
        queries: Tensor,
        k: int,
        *,
        exclude: Exclusions | None = None,
        min_similarity: float = -1.0,
    ) -> tuple[Tensor, Tensor]:
        """Find the `k` slots that have the largest inner product with each query `[Q, D]`, normalised here.

        A bank of fewer than `k` videos gives all it has, and one warning.

        Returns:
            float32 scores `[Q, K]` and int64 slots `[Q, K]`, best first, K = min(k, M); score -inf and slot
            -1 where exclusions, or `min_similarity`, leave fewer. Equal scores: lower slot first.

        Raises:
            UsageError: slots were never written.
        """
        limit = self._limit(k)
        if limit and bool((self.steps == NEVER).any()):
            raise UsageError("the bank holds slots that were never written", remedy="refresh it first")
        rows = F.normalize(queries.detach().to(self.keys.device, torch.float32), dim=1)
        if limit == 0:
            return rows.new_zeros(len(rows), 0), torch.zeros(len(rows), 0, dtype=torch.int64)
        scores, slots = self._index.search(rows, limit, exclude, self._searched)
        is_far = scores < min_similarity
        return scores.masked_fill(is_far, -torch.inf), slots.masked_fill(is_far, -1)

    def save(self, folder: Path) -> None:
        """Write the bank into a folder; an earlier one is replaced at once."""
        write_bank(folder, self.ids, {"keys": self.keys, "values": self.values, "steps": self.steps})

    def _slots_of(self, ids: Sequence[str]) -> Tensor:
        unknown = [video_id for video_id in ids if video_id not in self.slots]
        if unknown or len(set(ids)) != len(ids):
            raise UsageError(
                f"ids must be of the bank and distinct, got {unknown[0]!r}"
                if unknown
                else "ids must be distinct, got one twice",
                remedy="update the bank with the videos that it was made for",
            )
        return torch.tensor([self.slots[video_id] for video_id in ids], dtype=torch.int64)

    def _blended(self, stored: Tensor, slots: Tensor, rows: Tensor) -> Tensor:
        fresh = F.normalize(rows.detach().to(stored.device, torch.float32), dim=1)
        if self.momentum == 0:
            return fresh
        kept = torch.where(self.steps[slots] == NEVER, 0.0, self.momentum).to(stored.device)[:, None]
        return F.normalize(kept * stored[slots] + (1 - kept) * fresh, dim=1)

    def _searched(self, slots: Tensor | None = None) -> Tensor:
        """Return what queries are compared with, of some slots or of all."""
        keys, values = (x if slots is None else x[slots] for x in (self.keys, self.values))
        if self.key == "sum":
            return F.normalize(keys + values, dim=1)
        return keys if self.key == "text" else values

    def _limit(self, k: int) -> int:
        if k > len(self) and not self._has_warned:
            self._has_warned = True
            held = f"holds {len(self)} silent videos" if len(self) else "holds no silent videos"
            done = f"{len(self)} are retrieved" if len(self) else "retrieval is off"
            console.warn(f"the bank {held}, fewer than num_retrieved = {k}: {done}")
        return min(k, len(self))


def load_bank(
    folder: Path, *, key: Key = "text", momentum: float = 0.0, device: torch.device | str = "cpu"
) -> SilentBank:
    """Read a bank that `SilentBank.save` wrote; the options are those of `SilentBank`.

    Raises:
        DamageError: the folder holds no bank, or not what was saved.
    """
    ids, tensors = read_bank(folder)
    bank = SilentBank(ids, tensors["keys"].shape[1], key=key, momentum=momentum, device=device)
    bank.keys, bank.values = (tensors[name].to(device) for name in ("keys", "values"))
    bank.steps = tensors["steps"]
    return bank
