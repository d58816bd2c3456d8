# SPDX-License-Identifier: Apache-2.0
"""What processes that serve another one owe it: they hear no signal of its group, and end when it does."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait

PR_SET_PDEATHSIG = 1
STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals back: a process that is started meanwhile never gets those sent to the whole group."""
    resource_tracker.ensure_running()  # it would let them through, while the first process starts
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def end_with_parent() -> None:
    """Let this process end at once when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if sys.platform == "linux" and os.getppid() == parent.pid:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:
            os._exit(1)  # it died before it could be noticed
    threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def how_it_ended(exit_code: int) -> str:
    """Say how a process ended, for an error."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    hint = ", perhaps for want of memory" if exit_code == -signal.SIGKILL else ""
    return f"signal {-exit_code}{hint}"


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
