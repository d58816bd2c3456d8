# SPDX-License-Identifier: Apache-2.0
"""Encoders that crash, hang or run out on one video, for worker processes to import."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from cache_corpus import FPS, FrameRows, Statistics, frame_rows
from numpy.typing import NDArray

from ophclip.cache import CacheInput
from ophclip.video import write_video


def write_white(path: Path) -> CacheInput:
    """Write the video on which the encoders of this module misbehave."""
    write_video(path, (np.full((32, 32, 3), 255, dtype=np.uint8) for _ in range(3 * FPS)), FPS)
    return CacheInput(path.stem, path)


class OnWhite(Statistics):
    """`Statistics`, but calls `act` as soon as it meets the white video."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._act = act

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        if (frames[-1] > 250).all():
            self._act()
        return super().__call__(frames)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> NoReturn:
    os._exit(7)


def kill_parent() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)  # the system ends this process with its parent


def sleep() -> None:
    time.sleep(600)


def spin() -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")  # hours, in which no other thread of the process can run


def run_out() -> NoReturn:
    raise RuntimeError("CUDA out of memory")


def crash_at_start(device: str) -> NoReturn:
    crash()
    raise AssertionError(device)


def refuse_to_start(device: str) -> NoReturn:
    raise ImportError(f"no such library on {device}")


def make_statistics(device: str) -> Statistics:
    return Statistics()


def other_weights(device: str) -> Statistics:
    return Statistics(f"of {device}")


class WithoutTorch(FrameRows):
    """Frames as they are, from a process that must not have spent its time on importing torch."""

    def __init__(self) -> None:
        super().__init__(frame_rows().geometry)

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if "torch" in sys.modules:
            raise RuntimeError("torch was imported")
        return frames


class Slow(Statistics):
    """`Statistics` at a quarter of a second a batch."""

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        time.sleep(0.25)
        return super().__call__(frames)


class Batches(Statistics):
    """`Statistics` that takes full batches alone, as a compiled network does."""

    size = 8

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        if len(frames) != self.size:
            raise RuntimeError(f"got a batch of {len(frames)}")
        return super().__call__(frames)
