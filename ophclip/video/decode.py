# SPDX-License-Identifier: Apache-2.0
"""One way to read planned frames, whatever decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from ophclip import console
from ophclip.errors import UsageError
from ophclip.video.decode_dali import DaliRefusedError, DaliSource, is_installed
from ophclip.video.decode_pyav import PyavSource
from ophclip.video.geometry import Geometry
from ophclip.video.probe import VideoInfo
from ophclip.video.sampling import SamplingPlan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DaliElsePyav", "DaliRefusedError", "Decoder", "FrameSource", "Geometry", "open_source"]

Decoder = Literal["auto", "pyav", "dali"]

BATCH_SIZE = 32


class FrameSource(Protocol):
    """Reads the planned frames of a video; `name` and `version` say what decodes them."""

    used: str  # the decoder of the last video read, and its version

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def read(self, info: VideoInfo, plan: SamplingPlan) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 batches `[n, H, W, 3]`, RGB: together, exactly one picture a row of the plan."""
        ...


def open_source(
    decoder: Decoder = "auto",
    *,
    geometry: Geometry,
    device: str = "cpu",
    batch_size: int = BATCH_SIZE,
    threads: int = 0,
) -> FrameSource:
    """Return the source that decodes on `device` ("cpu", "cuda", "cuda:N") into `geometry`.

    `auto` is DALI where `device` is a GPU and DALI is installed, with PyAV for the videos that DALI refuses;
    otherwise PyAV, with so many `threads` (0: as many as there are cores).

    Raises:
        UsageError: the decoder is unknown or not installed.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be positive, got {batch_size}", remedy="pass 32, say")
    pyav = PyavSource(geometry, batch_size=batch_size, threads=threads)
    if decoder == "pyav":
        return pyav
    if decoder == "dali":
        return DaliSource(geometry, device=device, batch_size=batch_size)
    if decoder != "auto":
        raise UsageError(f"unknown decoder {decoder!r}", remedy="choose one of: auto, dali, pyav")
    if device.startswith("cuda") and is_installed():
        return DaliElsePyav(DaliSource(geometry, device=device, batch_size=batch_size), pyav)
    return pyav


class DaliElsePyav:
    """DALI for every video it decodes exactly; PyAV for the others.

    A video is never decoded partly by one of the two. Where DALI gives up midway, its `DaliRefusedError`
    comes through, and the next `read` of that video takes PyAV: drop what was read and read again.
    """

    name = "dali, else pyav"

    def __init__(self, dali: DaliSource, pyav: PyavSource) -> None:
        self._dali, self._pyav = dali, pyav
        self._refused: set[Path] = set()
        self.used = dali.used

    @property
    def version(self) -> str:
        """The versions of both."""
        return f"{self._dali.used}, {self._pyav.used}"

    def read(self, info: VideoInfo, plan: SamplingPlan) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames as `FrameSource.read` does.

        Raises:
            DaliRefusedError: DALI gave up after the first batch; read again.
            OphclipError: PyAV cannot decode a planned frame.
        """
        if info.path not in self._refused:
            batches = self._dali_batches(info, plan)
            try:
                self.used = self._dali.used
                return chain((next(batches),), batches)
            except DaliRefusedError:
                pass
        self.used = self._pyav.used
        return self._pyav.read(info, plan)

    def _dali_batches(self, info: VideoInfo, plan: SamplingPlan) -> Iterator[NDArray[np.uint8]]:
        try:
            yield from self._dali.read(info, plan)
        except DaliRefusedError as refusal:
            console.say(f"{refusal.message}: taking PyAV")
            self._refused.add(info.path)
            raise
