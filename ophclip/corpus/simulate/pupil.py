# SPDX-License-Identifier: Apache-2.0
"""What is seen through the pupil: red reflex, cataract, capsule tear, implanted lens, retina."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ophclip.corpus.simulate.motion import RHEXIS_RADIUS, pose_of
from ophclip.corpus.simulate.painter import Painter, arc, circle, polar
from ophclip.corpus.simulate.state import EyeState
from ophclip.corpus.simulate.style import Style
from ophclip.corpus.simulate.textures import LENS_EXTENT, Textures, affine_of

Image = NDArray[np.uint8]
CATARACT_PROCEDURES = frozenset({"phacoemulsification_surgery", "manual_small_incision_cataract_surgery"})
ORIGIN = (0.0, 0.0)


def draw_pupil(canvas: Painter, textures: Textures, style: Style, state: EyeState) -> None:
    """Draw the pupil and its inside on the eye; `canvas` maps limbus radii to the painted eye's pixels."""
    radius = style.pupil * (1 + 0.02 * np.sin(state.time_s * 1.3)) - 0.05 * state.done.get(
        "phacoemulsification", 0
    )
    inside = Painter(_ground(textures, state), affine_of(textures.scale, LENS_EXTENT))
    side = inside.image.shape[0]
    _draw_lens(inside, textures, style, state)
    mask = np.zeros((side, side), np.uint8)
    Painter(mask, inside.affine).disc(ORIGIN, radius, (255,))
    corner = np.rint(canvas.pixels([ORIGIN])[0] - side / 2).astype(int)
    view = canvas.image[corner[1] : corner[1] + side, corner[0] : corner[0] + side]
    cv2.copyTo(inside.image, mask, view)
    canvas.ring(ORIGIN, radius, [0.3 * part for part in style.iris], 0.026)


def _ground(textures: Textures, state: EyeState) -> Image:
    if state.procedure == "pars_plana_vitrectomy":
        lit = 0.25 + 0.75 * float(state.phase == "core_vitrectomy")
        return np.asarray(cv2.addWeighted(textures.fundus, lit, textures.clear, 1 - lit, 0))
    if state.procedure in CATARACT_PROCEDURES:
        return textures.reflex.copy()
    share = 0.55 if state.procedure == "phakic_lens_surgery" else 0.12
    return np.asarray(cv2.addWeighted(textures.reflex, share, textures.clear, 1 - share, 0))


def _draw_lens(inside: Painter, textures: Textures, style: Style, state: EyeState) -> None:
    if state.procedure in CATARACT_PROCEDURES:
        if state.procedure.startswith("phaco"):
            _nucleus_in_quarters(inside, textures, style, state)
        else:
            _whole_nucleus(inside, textures, style, state)
        _cortex(inside, style, state)
        _capsule_edge(inside, style, state)
    _fluid_wave(inside, style, state)
    _viscoelastic(inside, style, state)
    _implant(inside, style, state)
    _phakic_lens(inside, style, state)
    _vitreous_light(inside, style, state)
    _drug(inside, style, state)


def _paste(inside: Painter, texture: Image, outlines: list[NDArray[np.float64]]) -> None:
    mask = np.zeros(inside.image.shape[:2], np.uint8)
    brush = Painter(mask, inside.affine)
    for outline in outlines:
        brush.polygon(outline, (255,))
    cv2.copyTo(texture, mask, inside.image)


def _nucleus_in_quarters(inside: Painter, textures: Textures, style: Style, state: EyeState) -> None:
    done = state.done.get("phacoemulsification", 0.0)
    if done >= 1:
        return
    turn = style.wound_angle + 0.6 * state.done.get("hydrodissection", 0.0) + 1.5 * done
    crack = 0.07 * float(np.clip((done - 0.25) * 8, 0, 1))
    left = 4 - int(np.clip((done - 0.4) / 0.15, 0, 4))
    quarters = []
    for quarter in range(left):
        start = turn + quarter * np.pi / 2
        outline = np.concatenate([np.zeros((1, 2)), arc(ORIGIN, 0.8, start, start + np.pi / 2, 9)])
        quarters.append(outline + polar(crack, start + np.pi / 4))
    _paste(inside, textures.cataract, quarters)
    groove = float(np.clip(done * 6, 0, 1))
    if groove > 0 and left == 4:
        for angle in (turn, turn + np.pi / 2):
            ends = [tuple(polar(-0.4 * groove, angle)), tuple(polar(0.4 * groove, angle))]
            inside.line(ends, (96, 44, 26), 0.05)
            inside.line(ends, (210, 120, 70), 0.02)
    for outline in quarters if crack else []:
        inside.line(outline, (74, 40, 26), 0.025, closed=True)


def _whole_nucleus(inside: Painter, textures: Textures, style: Style, state: EyeState) -> None:
    done = state.done.get("nucleus_expression", 0.0)
    if done <= 0:
        _paste(inside, textures.cataract, [circle(ORIGIN, 0.8, 28)])


def _cortex(inside: Painter, style: Style, state: EyeState) -> None:
    freed = state.done.get("phacoemulsification", 0.0) >= 1 or state.done.get("nucleus_expression", 0.0) > 0
    left = 1 - state.done.get("irrigation_aspiration", 0.0)
    rng = np.random.default_rng(style.texture_seed + 1)
    for index in range(12 if freed else 0):
        angle, reach, width = rng.uniform(0, 6.28), rng.uniform(0.12, 0.45), rng.uniform(0.08, 0.2)
        if index < 12 * left:
            wisp = [polar(0.75, angle - width), polar(0.75, angle + width), polar(reach, angle + 0.1)]
            inside.polygon(np.array(wisp), (214, 204, 190), 0.5)


def _capsule_edge(inside: Painter, style: Style, state: EyeState) -> None:
    done = state.done.get("capsulorhexis", 0.0)
    if done <= 0:
        return
    start = style.wound_angle
    edge = arc(ORIGIN, RHEXIS_RADIUS, start, start + 2 * np.pi * done, 26)
    if done < 1:
        inside.polygon(np.concatenate([edge, np.zeros((1, 2))]), (236, 228, 214), 0.22)
        flap = [
            edge[-1],
            polar(0.16, start + 2 * np.pi * done - 1.2),
            polar(0.5, start + 2 * np.pi * done + 0.35),
        ]
        inside.polygon(np.array(flap), (244, 240, 232), 0.6)
    inside.line(edge + 0.012, (92, 52, 38), 0.02)
    inside.stroke(edge, (250, 244, 236), 0.028, 0.85 if done < 1 else 0.5)


def _fluid_wave(inside: Painter, style: Style, state: EyeState) -> None:
    if state.phase != "hydrodissection":
        return
    sweep = (state.time_s * 0.55) % 1
    front = arc(
        tuple(polar(0.9, style.wound_angle)),
        0.35 + 1.3 * sweep,
        style.wound_angle + 2.2,
        style.wound_angle + 4.1,
        16,
    )
    inside.stroke(front, (255, 232, 176), 0.12, 0.6)
    inside.line(front, (255, 246, 220), 0.02)


def _viscoelastic(inside: Painter, style: Style, state: EyeState) -> None:
    active = [part for part in state.handlings if part.instrument == "viscoelastic_cannula"]
    if state.phase != "viscoelastic_injection" or not active:
        return
    tip = pose_of(active[0], style).tip
    for lag, size in ((0.0, 1.0), (0.14, 0.75), (-0.12, 0.6)):
        centre = (float(tip[0]) + lag, float(tip[1]) - 0.8 * lag)
        radius = (0.1 + 0.3 * active[0].progress) * size
        inside.disc(centre, radius, (206, 226, 236), 0.3)
        inside.ring(centre, radius, (240, 248, 252), 0.018)
        inside.disc((centre[0] - radius * 0.4, centre[1] - radius * 0.4), radius * 0.16, (255, 255, 255))


def _implant(inside: Painter, style: Style, state: EyeState) -> None:
    done = state.done.get("lens_implantation", 0.0)
    if done <= 0.35:
        return
    unfold = float(np.clip((done - 0.35) / 0.4, 0, 1))
    axis = style.wound_angle + 0.5 * unfold
    squash = 0.2 + 0.8 * unfold
    along, across = polar(1.0, axis), polar(1.0, axis + np.pi / 2)
    unit = circle(ORIGIN, 1.0, 36)
    optic = (unit[:, :1] * along + unit[:, 1:] * across * squash) * 0.5 + along * 0.25 * (1 - unfold)
    inside.polygon(optic, (236, 230, 200), 0.18 + 0.35 * (1 - unfold))
    inside.line(optic + 0.012, (90, 60, 44), 0.022, closed=True)
    inside.line(optic, (246, 246, 236), 0.02, closed=True)
    for sign in (-1.0, 1.0):
        haptic = arc(ORIGIN, 0.6, 0.2, 1.5, 10) * (sign, sign * squash)
        inside.line(haptic[:, :1] * along + haptic[:, 1:] * across, (120, 170, 226), 0.035)
    inside.stroke(optic[4:10] * 0.72, (255, 255, 255), 0.05, 0.7 * unfold)


def _phakic_lens(inside: Painter, style: Style, state: EyeState) -> None:
    done = state.done.get("phakic_lens_implantation", 0.0)
    if done <= 0.25:
        return
    unfold = float(np.clip((done - 0.25) / 0.35, 0, 1))
    along, across = polar(1.0, style.wound_angle + 0.3), polar(1.0, style.wound_angle + 0.3 + np.pi / 2)
    plate = np.array(
        [
            (-0.62, -0.3),
            (-0.5, -0.42),
            (0.5, -0.42),
            (0.62, -0.3),
            (0.62, 0.3),
            (0.5, 0.42),
            (-0.5, 0.42),
            (-0.62, 0.3),
        ]
    )
    plate = plate * (1, 0.15 + 0.85 * unfold)
    outline = plate[:, :1] * along + plate[:, 1:] * across
    inside.polygon(outline, (150, 190, 226), 0.28)
    inside.stroke(np.concatenate([outline, outline[:1]]), (206, 232, 250), 0.035, 0.7)
    inside.ring(ORIGIN, 0.34 * (0.2 + 0.8 * unfold), (176, 212, 240), 0.02)
    for x, y in ((-0.5, -0.3), (0.5, 0.3)):
        spot = x * along + y * across * unfold
        inside.disc((float(spot[0]), float(spot[1])), 0.035, (20, 26, 40))


def _vitreous_light(inside: Painter, style: Style, state: EyeState) -> None:
    if state.phase != "core_vitrectomy":
        return
    spot = 0.22 * np.array([np.sin(state.time_s * 0.9), np.cos(state.time_s * 0.7)])
    for radius in (0.56, 0.48, 0.4, 0.32, 0.24, 0.16):
        inside.disc((float(spot[0]), float(spot[1])), radius, (255, 222, 150), 0.11)
    rng = np.random.default_rng(style.texture_seed + 2)
    left = 1 - state.done.get("core_vitrectomy", 0.0)
    for _ in range(int(14 * left)):
        start = rng.uniform(-0.5, 0.5, 2)
        drift = 0.06 * np.sin(state.time_s * rng.uniform(1, 3) + rng.uniform(0, 6))
        inside.stroke(np.array([start, start + rng.normal(0, 0.15, 2) + drift]), (240, 226, 206), 0.03, 0.4)


def _drug(inside: Painter, style: Style, state: EyeState) -> None:
    done = state.done.get("intravitreal_injection", 0.0)
    if not 0.3 < done < 1 or state.phase != "intravitreal_injection":
        return
    rng = np.random.default_rng(style.texture_seed + 3)
    for _ in range(int(12 * done)):
        place = polar(0.3, style.wound_angle) + rng.normal(0, 0.12 + 0.1 * done, 2)
        inside.disc((float(place[0]), float(place[1])), rng.uniform(0.03, 0.09), (226, 232, 236), 0.45)
