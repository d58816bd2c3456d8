# SPDX-License-Identifier: Apache-2.0
"""Draw `docs/simulator.jpg`: what simulated surgery looks like, one row a procedure, time to the right."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ophclip.corpus.simulate.procedures import IDLE, SECONDS_PER_STEP, Timeline, draw_timeline
from ophclip.corpus.simulate.render import FPS, Renderer
from ophclip.corpus.simulate.scripts import SCRIPTS
from ophclip.corpus.simulate.style import draw_style
from ophclip.corpus.simulate.vocabulary import PHASES, PROCEDURES

Image = NDArray[np.uint8]

OUT = Path(__file__).with_name("simulator.jpg")
SEED = 2
COLUMNS = 6
WIDTH, HEIGHT = 224, 168  # of a picture
GAP, CAPTION, HEADING = 6, 17, 22
INK, PALE, PAPER = (32, 34, 38), (108, 112, 120), (255, 255, 255)
QUALITY = 54
NAMES = {term.key: term.name for term in PHASES} | {IDLE: "at rest"}


def contact_sheet(seed: int = SEED) -> Image:
    """Return the sheet uint8 `[H, W, 3]` RGB; the same seed gives the same sheet."""
    return np.vstack([_row(seed, number) for number in range(len(PROCEDURES))])


def _row(seed: int, number: int) -> Image:
    procedure = PROCEDURES[number]
    course, look = (np.random.default_rng([seed, number, purpose]) for purpose in range(2))
    timeline = _whole_operation(course, procedure.key)
    renderer = Renderer(timeline, draw_style(look, procedure.key, rare=number % 3 == 2), 2 * WIDTH, seed)
    row = np.full((HEADING + HEIGHT + CAPTION + GAP, COLUMNS * (WIDTH + GAP) + GAP, 3), PAPER, np.uint8)
    _write(row, procedure.name, (GAP, HEADING - 7), INK, 0.46)
    for column, time_s in enumerate(_moments(timeline)):
        left = GAP + column * (WIDTH + GAP)
        row[HEADING : HEADING + HEIGHT, left : left + WIDTH] = _shrunk(renderer.frame(round(time_s * FPS)))
        phase = next(part.phase for part in timeline.segments if part.start_s <= time_s < part.end_s)
        caption = f"{int(time_s) // 60}:{int(time_s) % 60:02d}  {NAMES[phase].lower()}"
        _write(row, caption, (left, HEADING + HEIGHT + CAPTION - 5), PALE, 0.38)
    return row


def _shrunk(frame: Image) -> Image:
    return np.asarray(cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))


def _whole_operation(rng: np.random.Generator, procedure: str) -> Timeline:
    steps = SCRIPTS[procedure]
    while True:  # most drawn videos begin mid-case: take the first that shows it all
        timeline = draw_timeline(rng, procedure, SECONDS_PER_STEP * len(steps) * 1.3)
        shown = {part.phase for part in timeline.segments}
        if not timeline.done_before and shown >= {step.phase for step in steps}:
            return timeline


def _moments(timeline: Timeline) -> list[float]:
    """Return a time in each phase, in its order; in the longest, further ones until the row is full."""
    parts = [part for part in timeline.segments if part.phase != IDLE]
    first = {part.phase: part for part in reversed(parts)}
    chosen = sorted(first.values(), key=lambda part: part.start_s - part.end_s)[:COLUMNS]
    pieces = dict.fromkeys(chosen, 1)
    for _ in range(COLUMNS - len(chosen)):
        longest = max(pieces, key=lambda part: (part.end_s - part.start_s) / pieces[part])
        pieces[longest] += 1
    shown = sorted(pieces, key=lambda part: part.start_s)
    return [
        part.start_s + (part.end_s - part.start_s) * (0.55 + piece) / pieces[part]
        for part in shown
        for piece in range(pieces[part])
    ]


def _write(
    image: Image, text: str, place: tuple[int, int], colour: tuple[int, int, int], size: float
) -> None:
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def main() -> None:
    """Draw the sheet and write it."""
    sheet = cv2.cvtColor(contact_sheet(), cv2.COLOR_RGB2BGR)
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        QUALITY,
        cv2.IMWRITE_JPEG_OPTIMIZE,
        1,
        cv2.IMWRITE_JPEG_PROGRESSIVE,
        1,
    ]
    OUT.write_bytes(cv2.imencode(".jpg", sheet, options)[1].tobytes())
    print(
        f"{OUT}: {sheet.shape[1]} x {sheet.shape[0]} pixels, {OUT.stat().st_size // 1000} kB", file=sys.stderr
    )


if __name__ == "__main__":
    main()
