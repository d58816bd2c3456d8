# SPDX-License-Identifier: Apache-2.0
"""A base of vectors, prepared once for many searches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ophclip.ops.quantise import FACTS, PANEL, WORDS, centre_of, quantise

PackPrecision = Literal["fp32", "bf16", "int8"]

VALUES_AT_ONCE = 1 << 21  # elements that are packed at a time: what is needed besides the result


@dataclass(frozen=True)
class QuantisedRows:
    """What a base of precision bf16 or int8 is scanned for, and what its scores are computed from."""

    facts: Tensor  # float32 [ceil(N / 32), 3, 32]: scale, residual norm, norm of each row
    rows: Tensor  # float32 [N, D], as they came
    centre: Tensor  # float32 [D], taken off every row before it was rounded


@dataclass(frozen=True)
class PackedBase:
    """Rows `[N, D]` prepared for `topk`, in panels of 32 rows; searches equal those of the rows in float32.

    The last panel is filled with zeros. Its tensors may be mapped from a file and are not to be written to.
    """

    # float32 [P, D, 32], bfloat16 [P, ceil(D / 2), 32, 2] or uint8 [P, ceil(D / 4), 32, 4]; P = ceil(N / 32)
    panels: Tensor
    num_rows: int
    precision: PackPrecision
    quantised: QuantisedRows | None = None  # of bf16 and int8

    def __len__(self) -> int:
        return self.num_rows

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.panels.shape[1] if self.quantised is None else self.quantised.rows.shape[1])

    @property
    def rows(self) -> Tensor:
        """The rows, float32 `[N, D]`: a copy where the precision is fp32."""
        if self.quantised is not None:
            return self.quantised.rows
        filled = self.panels.transpose(1, 2).reshape(len(self.panels) * PANEL, self.dim)
        return filled[: self.num_rows].contiguous()

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, and of the file."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Return everything the base consists of, by name."""
        parts = {} if self.quantised is None else vars(self.quantised)
        return {"panels": self.panels, **parts}

    def save(self, path: Path) -> None:
        """Write the base as one file that `load_packed` maps into memory; an old one is replaced at once."""
        from ophclip.ops.packed_file import save_packed

        save_packed(self, path)


def pack(x: Tensor, precision: PackPrecision = "fp32") -> PackedBase:
    """Prepare the rows of `x` `[N, D]` for `topk`.

    The precision names what is scanned; what is found is what float32 finds, scores and all. "int8" and
    "bf16" keep the float32 rows too: 1.25 and 1.5 times the memory of "fp32" for 4 and 2 times the speed.

    Raises:
        ValueError: x is not a matrix, the precision is unknown, or a value is NaN or infinite.
    """
    if x.ndim != 2:
        raise ValueError(f"x must be [N, D], got {list(x.shape)}")
    if precision not in ("fp32", "bf16", "int8"):
        raise ValueError(f"precision must be fp32, bf16 or int8, got {precision!r}")
    if not all_finite(x):
        raise ValueError("x must be finite, got NaN or infinity; remove those rows")
    rows = x.detach()
    return _pack_floats(rows) if precision == "fp32" else _pack_quantised(rows, precision)


def repack(base: PackedBase, x: Tensor, ids: Tensor) -> None:
    """Overwrite the rows `ids` `[n]`, distinct, of a base that `pack` made with the rows of `x` `[n, D]`.

    In place, and only the panels of those rows are packed anew: searches equal those of a base that was
    packed from the new rows.

    Raises:
        ValueError: shapes do not fit, an id is out of range, or a value is NaN or infinite.
    """
    if x.shape != (ids.numel(), base.dim):
        raise ValueError(f"x must be [{ids.numel()}, {base.dim}], got {list(x.shape)}")
    if ids.numel() == 0:
        return
    if int(ids.min()) < 0 or int(ids.max()) >= len(base):
        raise ValueError(f"ids must lie in [0, {len(base)}), got [{ids.min()}, {ids.max()}]")
    if not all_finite(x):
        raise ValueError("x must be finite, got NaN or infinity; remove those rows")
    values = x.detach().float()
    if base.quantised is None:
        base.panels[ids // PANEL, :, ids % PANEL] = values
        return
    stored = base.quantised
    stored.rows[ids] = values
    touched = torch.unique(ids // PANEL)
    places = (touched[:, None] * PANEL + torch.arange(PANEL, device=ids.device)).flatten()
    chunk = stored.rows[places.clamp(max=len(base) - 1)]
    chunk[places >= len(base)] = stored.centre  # as the last panel is filled
    panels, facts = quantise(chunk, stored.centre, base.precision)
    base.panels[touched], stored.facts[touched] = panels, facts


def _pack_floats(x: Tensor) -> PackedBase:
    num_rows, dim = x.shape
    panels = x.new_empty((_num_panels(num_rows), dim, PANEL), dtype=torch.float32)
    for place, chunk in _chunks(x, x.new_zeros(dim)):
        panels[place] = chunk.view(-1, PANEL, dim).transpose(1, 2)
    return PackedBase(panels, num_rows, "fp32")


def _pack_quantised(x: Tensor, precision: Literal["bf16", "int8"]) -> PackedBase:
    num_rows, dim = x.shape
    num_panels, (per_word, dtype) = _num_panels(num_rows), WORDS[precision]
    panels = x.new_empty((num_panels, -(-dim // per_word), PANEL, per_word), dtype=dtype)
    facts = x.new_zeros((num_panels, FACTS, PANEL), dtype=torch.float32)
    rows, centre = x.to(torch.float32, copy=True, memory_format=torch.contiguous_format), centre_of(x)
    for place, chunk in _chunks(rows, centre):
        panels[place], facts[place] = quantise(chunk, centre, precision)
    return PackedBase(panels, num_rows, precision, QuantisedRows(facts, rows, centre))


def _num_panels(num_rows: int) -> int:
    return -(-num_rows // PANEL)


def _chunks(x: Tensor, filler: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of panels with their rows in float32; the last panel is filled with `filler` `[D]`."""
    num_rows, dim = x.shape
    step = max(1, VALUES_AT_ONCE // max(1, dim) // PANEL) * PANEL
    for first in range(0, num_rows if dim else 0, step):
        chunk = x[first : first + step].float()
        missing = -len(chunk) % PANEL
        if missing:
            chunk = torch.cat([chunk, filler.float().expand(missing, dim)])
        yield slice(first // PANEL, (first + len(chunk)) // PANEL), chunk.contiguous()


def all_finite(x: Tensor) -> bool:
    """Return whether no value of `x` is NaN or infinite, in one pass that writes nothing."""
    # The extremes carry NaN with them; torch.isfinite would write a mask as long as x first: 28 times slower.
    return x.numel() == 0 or all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(x.detach()))
