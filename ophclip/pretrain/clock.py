# SPDX-License-Identifier: Apache-2.0
"""Where the time of a step goes."""

from __future__ import annotations

import time

import torch

PHASES = ("data", "forward", "retrieval", "loss", "backward", "exchange", "optimiser")


class PhaseClock:
    """Adds up the seconds of each phase; `mark` ends one, and begins the next.

    On a GPU work goes on after a call returns: `exact` waits for it at each mark, as a benchmark must and a
    training run should not.
    """

    def __init__(self, device: str, *, exact: bool = False) -> None:
        self._waits = exact and device != "cpu"
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._last = time.perf_counter()

    def start(self) -> None:
        """Begin the first phase now."""
        self._last = self._now()

    def mark(self, phase: str) -> None:
        """Say that what was done since the last mark was this phase."""
        now = self._now()
        self.seconds[phase] += now - self._last
        self._last = now

    def _now(self) -> float:
        if self._waits:
            torch.cuda.synchronize()
        return time.perf_counter()
