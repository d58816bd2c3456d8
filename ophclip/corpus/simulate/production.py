# SPDX-License-Identifier: Apache-2.0
"""One video of a simulated corpus, from its part in the cast to its file and its words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ophclip.corpus.simulate.cast import Part
from ophclip.corpus.simulate.narration import Narration, draw_narration
from ophclip.corpus.simulate.procedures import Timeline, draw_timeline
from ophclip.corpus.simulate.render import FPS, Renderer
from ophclip.corpus.simulate.style import Style, draw_style
from ophclip.corpus.simulate.titles import Titles, draw_titles
from ophclip.video.encode import VideoCodec, write_video

SUFFIXES = {"h264": ".mp4", "vp9": ".webm"}


@dataclass(frozen=True)
class Script:
    """Everything about a video but its pixels."""

    part: Part
    timeline: Timeline
    style: Style
    titles: Titles
    narrations: list[Narration]


def write_script(part: Part, seconds: float) -> Script:
    """Draw a video's course, look and words; each has its own generator, so none disturbs another."""
    course, look, words, speech = (
        np.random.default_rng([part.seed, 1 + part.index, purpose]) for purpose in range(4)
    )
    timeline = draw_timeline(course, part.procedure, seconds)
    return Script(
        part,
        timeline,
        draw_style(look, part.procedure, rare=part.has_rare_style),
        draw_titles(words, timeline),
        draw_narration(speech, timeline) if part.kind == "narrated" else [],
    )


def film(part: Part, folder: Path, seconds: float, size: int, codec: VideoCodec) -> None:
    """Render and encode one video into `folder`, `size` pixels wide; it appears there when it is whole."""
    cv2.setNumThreads(1)  # the processes are the parallelism
    script = write_script(part, seconds)
    renderer = Renderer(script.timeline, script.style, size, part.index)
    write_video(folder / f"{part.video_id}{SUFFIXES[codec]}", renderer.frames(), FPS, codec)
