# SPDX-License-Identifier: Apache-2.0
"""Gradient checkpointing of blocks: activations are computed again in the backward pass instead of kept.

Dropout draws the same numbers again. Batch norms would count the batch twice in their running statistics, so
the second pass updates copies that are thrown away: gradients and statistics are those of plain training.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute_in_backward(block: nn.Module) -> None:
    """Make a block keep only its inputs where it trains; its result and its state_dict stay the same."""
    # Bound anew to a copy by deepcopy, as a closure would not be.
    block.forward = types.MethodType(_checkpointed, block)


@contextmanager
def unchanged_statistics(module: nn.Module) -> Iterator[None]:
    """Run a module in training mode while the running statistics of its batch norms stay as they are."""
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    kept = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers(recurse=False)]
    for norm, name, buffer in kept:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer)


def _checkpointed(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    forward = type(self).forward
    if not (self.training and torch.is_grad_enabled()):
        return forward(self, *args, **kwargs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), unchanged_statistics(self)

    return checkpoint(forward, self, *args, use_reentrant=False, context_fn=contexts, **kwargs)
