# SPDX-License-Identifier: Apache-2.0
"""Builds in processes of their own, forked from a warm server so that many can be killed."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from cache_corpus import build

from ophclip import console
from ophclip.cache import CacheInput
from ophclip.cache.crash import VARIABLE

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["ophclip.cache", "ophclip.video.decode_pyav", "av"])

TIMEOUT_S = 60


def start(target: Callable[..., None], *arguments: Any, crash_at: str = "") -> BaseProcess:
    """Run `target` in a process of its own, which dies at the crash point named."""
    process = _context.Process(target=_run, args=(crash_at, target, *arguments))
    process.start()
    return process


def finish(process: BaseProcess) -> int:
    """Wait for a process; return its exit code, negative where a signal ended it."""
    process.join(TIMEOUT_S)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def build_child(inputs: Sequence[CacheInput], out: Path) -> None:
    build(inputs, out)


def _run(crash_at: str, target: Callable[..., None], *arguments: Any) -> None:
    os.environ[VARIABLE] = crash_at
    console.set_quiet(True)
    target(*arguments)
