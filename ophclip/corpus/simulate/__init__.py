# SPDX-License-Identifier: Apache-2.0
"""Simulated eye surgery: videos drawn from nothing, with titles, narrations and the truth of every second."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ophclip.corpus.simulate.world import simulate

__all__ = ["simulate"]


def __getattr__(name: str) -> object:
    # The vocabulary is imported widely; drawing and encoding only when they are used.
    if name == "simulate":
        from ophclip.corpus.simulate.world import simulate

        return simulate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
