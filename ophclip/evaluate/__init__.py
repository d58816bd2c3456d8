# SPDX-License-Identifier: Apache-2.0
"""Evaluation: datasets as they are distributed, named protocols, metrics with their averaging rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ophclip.evaluate.protocol import Results, evaluate

__all__ = ["Results", "evaluate"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `ophclip.evaluate.metrics` needs NumPy alone.
    if name in __all__:
        from ophclip.evaluate import protocol

        return getattr(protocol, name)
    raise AttributeError(f"module 'ophclip.evaluate' has no attribute {name!r}")
