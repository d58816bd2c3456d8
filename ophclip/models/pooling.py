# SPDX-License-Identifier: Apache-2.0
"""From the token states of a text tower to one row a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

POOLED_LAYERS = 4  # the lineage sums the last four hidden layers

Pooling = Literal["auto", "lineage", "mean", "cls", "eos"]


def default_pooling(model_type: str) -> Pooling:
    """Return what suits a tower of that transformers type: "eos" for CLIP, trained so, else "lineage"."""
    return "eos" if model_type.startswith("clip") else "lineage"


def pool_text(layers: Sequence[Tensor], mask: Tensor, pooling: Pooling, slots: int) -> Tensor:
    """Pool token states into `[n, D]`.

    Args:
        layers: States `[n, L, D]` after each layer, the tower's output last.
        mask: `[n, L]`, 1 for tokens and 0 for the padding to their right.
        pooling: "lineage" as in `lineage_pooling`; of the output alone "mean" over the tokens, "cls" the
            first token, "eos" the last.
        slots: Word slots of the lineage's mean, empty ones counted.
    """
    output = layers[-1]
    if pooling == "lineage":
        return lineage_pooling(layers, mask, slots)
    if pooling == "mean":
        return _masked_sum(output, mask) / mask.sum(dim=1, keepdim=True)
    if pooling == "cls":
        return output[:, 0]
    return output[torch.arange(len(output), device=output.device), mask.sum(dim=1) - 1]


def lineage_pooling(layers: Sequence[Tensor], mask: Tensor, slots: int) -> Tensor:
    """Pool as the SurgVLP lineage does, in closed form.

    The lineage sums word pieces into words, means over `slots` word slots of which empty ones are zeros, and
    sums the last four layers. The slots hold every token from [CLS] to [SEP] once, so that is

        1 / slots * sum over the last four layers, sum over the tokens up to [SEP], of their states.
    """
    last = layers[-POOLED_LAYERS:]
    return _masked_sum(sum(last[1:], start=last[0]), mask) / slots


def _masked_sum(states: Tensor, mask: Tensor) -> Tensor:
    return torch.einsum("nl,nld->nd", mask.to(states.dtype), states)
