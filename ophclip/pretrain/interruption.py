# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and Ctrl-C end a run after the step in hand; a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ophclip import console
from ophclip.pretrain.distributed import is_distributed

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Whether the run was asked to stop."""

    def __init__(self) -> None:
        self.is_requested = False

    def request(self, signal_number: int, frame: FrameType | None) -> None:
        """Take note of a signal.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed again.
        """
        if self.is_requested:
            # Under torchrun one signal comes twice: from the terminal or Slurm, and passed on by torchrun.
            if signal_number == signal.SIGINT and not is_distributed():
                raise KeyboardInterrupt
            return
        self.is_requested = True
        console.say(f"{signal.Signals(signal_number).name}: saving a checkpoint after this step")


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Hold back the stopping signals until the block ends; in the main thread, the only one to get them."""
    noted = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.signal(number, noted.request) for number in SIGNALS}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
