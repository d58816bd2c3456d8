# SPDX-License-Identifier: Apache-2.0
"""One way to read planned frames, whatever decodes them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from ophclip import console
from ophclip.errors import UsageError
from ophclip.video.decode_dali import DaliRefusedError, DaliSource, is_installed
from ophclip.video.decode_pyav import PyavSource
from ophclip.video.frames import ARRAYS, FrameFormat
from ophclip.video.geometry import Geometry
from ophclip.video.probe import VideoInfo
from ophclip.video.sampling import SamplingPlan

if TYPE_CHECKING:
    from ophclip.video.frames import Pixels

__all__ = ["DaliElsePyav", "DaliRefusedError", "Decoder", "FrameSource", "Geometry", "open_source"]

Decoder = Literal["auto", "pyav", "dali"]

BATCH_SIZE = 32


class FrameSource(Protocol):
    """Reads the planned frames of videos; `name` and `version` say what decodes them.

    One thread at a time uses it; several open one each.
    """

    used: str  # the decoder of the last video read, and its version

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def group_of(self, info: VideoInfo) -> Hashable | None:
        """Return what videos have in common that `read_together` takes; None: this one is read alone."""
        ...

    def read(self, info: VideoInfo, plan: SamplingPlan) -> Iterator[Pixels]:
        """Yield batches of uint8 `[n, H, W, 3]`, RGB, or of another form that was asked for.

        Together they are exactly one picture a row of the plan; none has more than `batch_size`.
        """
        ...

    def read_together(self, videos: Sequence[tuple[VideoInfo, SamplingPlan]]) -> Iterator[tuple[int, Pixels]]:
        """Yield the batches of several videos of one group, one video after another, with its number.

        Where that fails, videos whose frames all came are complete; read the others one by one.
        """
        ...


def open_source(
    decoder: Decoder = "auto",
    *,
    geometry: Geometry,
    device: str = "cpu",
    batch_size: int = BATCH_SIZE,
    threads: int = 0,
    frame_format: FrameFormat = ARRAYS,
) -> FrameSource:
    """Return the source that decodes on `device` ("cpu", "cuda", "cuda:N") into `geometry`.

    Frames come as arrays, or as `frame_format` allows. `auto` is DALI where `device` is a GPU and DALI is
    installed, with PyAV for the videos that DALI refuses; otherwise PyAV, with so many `threads` (0: as many
    as there are cores).

    Raises:
        UsageError: the decoder is unknown or not installed.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be positive, got {batch_size}", remedy="pass 32, say")
    pyav = PyavSource(geometry, batch_size=batch_size, threads=threads)
    if decoder == "pyav":
        return pyav
    if decoder == "dali":
        return DaliSource(geometry, device=device, batch_size=batch_size, frame_format=frame_format)
    if decoder != "auto":
        raise UsageError(f"unknown decoder {decoder!r}", remedy="choose one of: auto, dali, pyav")
    if decodes_on_gpu(decoder, device):
        dali = DaliSource(geometry, device=device, batch_size=batch_size, frame_format=frame_format)
        return DaliElsePyav(dali, pyav)
    return pyav


def decodes_on_gpu(decoder: Decoder, device: str) -> bool:
    """Return whether `open_source` gives a source that decodes on a GPU."""
    return decoder != "pyav" and device.startswith("cuda") and is_installed()


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

    def group_of(self, info: VideoInfo) -> Hashable | None:
        """Return the group of a video that DALI decodes."""
        return None if info.path in self._refused else self._dali.group_of(info)

    def read_together(self, videos: Sequence[tuple[VideoInfo, SamplingPlan]]) -> Iterator[tuple[int, Pixels]]:
        """Yield the frames of several videos that DALI decodes, as `FrameSource.read_together` does."""
        self.used = self._dali.used
        return self._dali.read_together(videos)

    def read(self, info: VideoInfo, plan: SamplingPlan) -> Iterator[Pixels]:
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

    def _dali_batches(self, info: VideoInfo, plan: SamplingPlan) -> Iterator[Pixels]:
        try:
            yield from self._dali.read(info, plan)
        except DaliRefusedError as refusal:
            console.say(f"{refusal.message}: taking PyAV")
            self._refused.add(info.path)
            raise
