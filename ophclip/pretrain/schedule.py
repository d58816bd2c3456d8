# SPDX-License-Identifier: Apache-2.0
"""When retrieval begins and how often the bank is recomputed, in steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ophclip.pretrain.config import PretrainConfig


@dataclass(frozen=True)
class RetrievalSchedule:
    """The first step that retrieves, and the steps between recomputations of the bank."""

    first_step: int
    refresh_steps: int


def retrieval_schedule(config: PretrainConfig, steps_an_epoch: float) -> RetrievalSchedule:
    """Return the schedule of a run; `steps_an_epoch`, of both levels, pass over all clips once.

    Keys in steps win over those in epochs.
    """
    first, refresh = config.retrieval_warmup_steps, config.refresh_every_steps
    if first is None:
        first = math.ceil(config.retrieval_warmup_epochs * steps_an_epoch)
    if refresh is None:
        refresh = max(1, round(config.refresh_every_epochs * steps_an_epoch))
    return RetrievalSchedule(first, refresh)
