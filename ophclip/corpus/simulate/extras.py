# SPDX-License-Identifier: Apache-2.0
"""What is in the picture but in no label: the other hand's tools, fingers, a sponge, drops of saline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ophclip.corpus.simulate.instruments import Grip
from ophclip.corpus.simulate.motion import Pose
from ophclip.corpus.simulate.painter import Painter, circle, polar
from ophclip.corpus.simulate.procedures import IDLE
from ophclip.corpus.simulate.state import EyeState
from ophclip.corpus.simulate.style import Style

IDLERS = ("forceps", "cystotome", "scissors", "needle_holder", "hydrodissection_cannula", "sponge", "chopper")


def extra_handlings(style: Style, state: EyeState, seconds: float) -> list[tuple[str, Pose]]:
    """Return the unlabelled instruments in sight: tools of no class, and tools at rest off the eye."""
    extras: list[tuple[str, Pose]] = []
    sway = 0.08 * np.array([np.sin(state.time_s * 1.9), np.cos(state.time_s * 1.4)])
    if state.phase == "phacoemulsification":
        extras.append(("chopper", Pose(polar(0.25, style.side_angle) + sway, style.side_angle, Grip())))
    if state.phase == "core_vitrectomy":
        extras.append(("light_pipe", Pose(polar(0.3, style.side_angle) + sway, style.side_angle, Grip())))
    rng = np.random.default_rng(style.texture_seed + 8)
    if rng.random() < 0.45:
        start_s, length_s = rng.uniform(-2, seconds), rng.uniform(2, 7)
        tool, angle = IDLERS[int(rng.integers(len(IDLERS)))], rng.uniform(0, 2 * np.pi)
        if start_s < state.time_s < start_s + length_s:
            extras.append(
                (
                    tool,
                    Pose(
                        polar(rng.uniform(1.55, 1.85), angle) + sway * 0.4, angle + rng.normal(0, 0.3), Grip()
                    ),
                )
            )
    if state.phase == IDLE and rng.random() < 0.5:
        dab = polar(1.25, style.wound_angle + 0.5) + sway
        extras.append(("sponge", Pose(dab, style.wound_angle + 0.3, Grip(push=style.redness))))
    return extras


def draw_drops(scene: Painter, style: Style, state: EyeState) -> None:
    """Draw saline running over the cornea now and then: bright, wet spots that spread."""
    rng = np.random.default_rng([style.texture_seed + 9, int(state.time_s / 4)])
    if rng.random() > 0.35:
        return
    age = (state.time_s % 4) / 4
    for _ in range(4):
        place = rng.normal(0, 0.45, 2)
        centre = (float(place[0]), float(place[1]) + 0.2 * age)
        radius = rng.uniform(0.08, 0.2) * (0.6 + age)
        scene.disc(centre, radius, (226, 232, 236), 0.22 * (1 - age))
        scene.disc(
            (centre[0] - radius * 0.3, centre[1] - radius * 0.3), radius * 0.2, (255, 255, 255), 1 - age
        )


def draw_extras(scene: Painter, style: Style, state: EyeState, poses: Sequence[Pose]) -> None:
    """Draw gloved fingertips on the handles, where they reach into the picture."""
    rng = np.random.default_rng(style.texture_seed + 10)
    if rng.random() < 0.4:
        return
    reach = rng.uniform(1.7, 2.3)
    for pose in poses:
        for side in (-1.0, 1.0):
            root = pose.tip + polar(reach + 1.3, pose.angle + side * 0.28)
            tip = pose.tip + polar(reach, pose.angle + side * 0.05)
            _finger(scene, style, root, tip, 0.27)


def _finger(scene: Painter, style: Style, root: np.ndarray, tip: np.ndarray, width: float) -> None:
    glove = np.array(style.glove)
    for share, gain in ((1.0, 0.62), (0.86, 0.9), (0.45, 1.06)):
        colour = np.minimum(glove * gain, 255).tolist()
        scene.line([tuple(root), tuple(tip)], colour, 2 * width * share)
        scene.polygon(circle((float(tip[0]), float(tip[1])), width * share, 20), colour)
