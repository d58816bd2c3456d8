# SPDX-License-Identifier: Apache-2.0
"""A base of vectors, prepared once for many searches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

PackPrecision = Literal["fp32", "bf16", "int8"]


@dataclass(frozen=True)
class PackedBase:
    """Rows `[N, D]` prepared for `topk`; searches of any precision return what float32 would."""

    rows: Tensor  # float32 [N, D]
    precision: PackPrecision

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.rows.shape[1])

    def save(self, path: Path) -> None:
        """Write the base as one file that `load_packed` maps into memory."""
        from safetensors.torch import save_file

        save_file({"rows": self.rows.contiguous()}, path, metadata={"precision": self.precision})


def pack(x: Tensor, precision: PackPrecision = "fp32") -> PackedBase:
    """Prepare the rows of `x` `[N, D]` for `topk`; the float32 rows are kept beside any smaller form.

    Raises:
        ValueError: x is not a matrix, the precision is unknown, or a value is NaN or infinite.
    """
    if x.ndim != 2:
        raise ValueError(f"x must be [N, D], got {list(x.shape)}")
    if precision not in ("fp32", "bf16", "int8"):
        raise ValueError(f"precision must be fp32, bf16 or int8, got {precision!r}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x must be finite, got NaN or infinity; remove those rows")
    return PackedBase(x.detach().to(torch.float32).contiguous(), precision)


def load_packed(path: Path) -> PackedBase:
    """Map a base that `PackedBase.save` wrote.

    Raises:
        ValueError: the file is not a packed base.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            return PackedBase(stored.get_tensor("rows"), metadata["precision"])
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is not a packed base: {error}") from error
