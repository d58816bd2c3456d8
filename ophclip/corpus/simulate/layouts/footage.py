# SPDX-License-Identifier: Apache-2.0
"""Videos, clips and pictures of one simulated operation, at any frame rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ophclip.corpus.simulate.cast import Part
from ophclip.corpus.simulate.procedures import Segment
from ophclip.corpus.simulate.production import Script, write_script
from ophclip.corpus.simulate.render import FPS, Renderer
from ophclip.files import replace_file
from ophclip.video.encode import write_video


@dataclass(frozen=True)
class Film:
    """Footage of one operation: a video of `rate` frames a second, or a picture where `seconds` is 0."""

    path: Path
    part: Part
    length_s: float  # of the whole operation
    start_s: float = 0.0
    seconds: float = 0.0
    rate: int = 25

    @property
    def num_frames(self) -> int:
        """How many frames the video has."""
        return math.ceil(Fraction(self.seconds) * self.rate)


def draw(films: Sequence[Film], size: int) -> None:
    """Draw films and pictures of one operation, `size` pixels wide; each appears when it is whole."""
    cv2.setNumThreads(1)  # the processes are the parallelism
    script = write_script(films[0].part, films[0].length_s)
    renderer = Renderer(script.timeline, script.style, size, films[0].part.index)
    drawn: dict[tuple[float, float], Path] = {}
    for film in films:
        film.path.parent.mkdir(parents=True, exist_ok=True)
        same = drawn.setdefault((film.start_s, film.seconds), film.path)
        if same != film.path:
            replace_file(film.path, same.read_bytes())
        elif not film.path.is_file():
            _draw(film, renderer)


def _draw(film: Film, renderer: Renderer) -> None:
    if film.seconds == 0:
        bgr = renderer.frame(_index(film.start_s))[..., ::-1]
        replace_file(film.path, cv2.imencode(film.path.suffix, bgr)[1].tobytes())
    else:
        write_video(film.path, _frames(film, renderer), film.rate)


def _frames(film: Film, renderer: Renderer) -> Iterator[NDArray[np.uint8]]:
    drawn, frame = -1, np.zeros(0, dtype=np.uint8)
    for number in range(film.num_frames):
        index = _index(film.start_s + number / film.rate)
        if index != drawn:
            drawn, frame = index, renderer.frame(index)
        yield frame


def _index(time_s: float) -> int:
    return math.floor(time_s * FPS + 1e-6)


def segments_of(script: Script) -> list[Segment]:
    """Return the segments of an operation, in order."""
    return list(script.timeline.segments)


def instruments_at(script: Script, time_s: float) -> set[str]:
    """Return the instruments that are in use at a time."""
    uses = [use for segment in script.timeline.segments for use in segment.instruments]
    return {use.instrument for use in uses if use.start_s <= time_s < use.end_s}


def phase_at(script: Script, time_s: float) -> str:
    """Return the phase at a time, or idle."""
    found = (part.phase for part in script.timeline.segments if part.start_s <= time_s < part.end_s)
    return next(found, "idle")
