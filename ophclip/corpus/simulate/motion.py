# SPDX-License-Identifier: Apache-2.0
"""Where an instrument's tip is, which way its shaft points and how it is held, at a time of its use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ophclip.corpus.simulate.instruments import Grip
from ophclip.corpus.simulate.painter import polar
from ophclip.corpus.simulate.state import Handling
from ophclip.corpus.simulate.style import Style

Point = NDArray[np.float64]
OUT_OF_SIGHT = 3.2  # how far an instrument draws back, in limbus radii
RHEXIS_RADIUS = 0.42


@dataclass(frozen=True)
class Pose:
    """The tip in limbus radii, the direction from tip to handle in radians, and the grip."""

    tip: Point
    angle: float
    grip: Grip


def pose_of(handling: Handling, style: Style) -> Pose:
    """Return where an instrument is; one that has not arrived lies back along its shaft."""
    rng = np.random.default_rng([style.texture_seed, handling.seed])
    move = _MOVES.get((handling.phase, handling.instrument)) or _MOVES[("", handling.instrument)]
    side = style.side_angle if handling.hand else style.wound_angle
    pose = move(handling, side, rng)
    shake = style.tremor * 0.006
    time_s = handling.elapsed_s
    tremor = shake * np.array([np.sin(53 * time_s), np.cos(47 * time_s)])
    back = (1 - handling.reach) ** 1.3 * OUT_OF_SIGHT * polar(1.0, pose.angle)
    return Pose(pose.tip + tremor + back, pose.angle, pose.grip)


def _wander(rng: np.random.Generator, time_s: float, rate: float) -> Point:
    phase, speed = rng.uniform(0, 6.28, 4), rate * rng.uniform(0.7, 1.3, 4)
    waves = np.sin(phase + speed * time_s * 2 * np.pi)
    return np.array([waves[0] + 0.5 * waves[1], waves[2] + 0.5 * waves[3]]) / 1.5


def _tilt(rng: np.random.Generator, spread: float = 0.18) -> float:
    return float(rng.normal(0, spread))


def _thrust(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    strokes = (1 - np.cos(2 * np.pi * (h.elapsed_s * 0.45))) / 2
    return Pose(polar(1.02 - 0.5 * strokes, side), side + _tilt(rng), Grip())


def _shave(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    slide = np.sin(2 * np.pi * 0.8 * h.elapsed_s)
    angle = side + 0.16 * slide
    return Pose(polar(1.4 - 0.25 * h.progress, angle), side + 0.7 + _tilt(rng), Grip())


def _fill(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    tip = polar(-0.45 + 0.9 * h.progress, side) + 0.12 * _wander(rng, h.elapsed_s, 0.3)
    return Pose(tip, side + _tilt(rng), Grip(push=h.progress))


def _scoop(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    tip = polar(-0.35 + 1.1 * h.progress, side) + 0.06 * _wander(rng, h.elapsed_s, 1.0)
    return Pose(tip, side + _tilt(rng), Grip(push=h.progress))


def _tear(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    turn = side + 2 * np.pi * h.progress
    regrasp = 0.5 + 0.5 * np.sin(2 * np.pi * 0.7 * h.elapsed_s)
    pull = polar(RHEXIS_RADIUS - 0.06 * regrasp, turn)
    return Pose(pull, side + 0.2 * np.sin(turn - side), Grip(opening=float(regrasp > 0.85)))


def _prick(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    turn = side + 2 * np.pi * min(1.0, h.progress)
    nick = 0.05 * abs(np.sin(2 * np.pi * 1.6 * h.elapsed_s))
    return Pose(polar(RHEXIS_RADIUS - nick, turn), side + 0.2 * np.sin(turn - side), Grip())


def _flush(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    jerk = 0.07 * np.sign(np.sin(2 * np.pi * 0.9 * h.elapsed_s))
    tip = polar(0.4 + jerk, side + 0.5 * _wander(rng, h.elapsed_s, 0.15)[0])
    return Pose(tip, side + _tilt(rng), Grip(push=h.progress))


def _seal(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    at = side + (0.17 if h.progress < 0.5 else -0.17) + 0.03 * np.sin(9 * h.elapsed_s)
    return Pose(polar(0.93, at), side + 0.9 * np.sign(at - side), Grip(push=h.progress))


def _sculpt(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    stroke = np.sin(2 * np.pi * 0.5 * h.elapsed_s)
    buzz = 0.012 * np.sin(2 * np.pi * 5.3 * h.elapsed_s)
    tip = polar(0.08 + 0.26 * stroke + buzz, side) + 0.12 * _wander(rng, h.elapsed_s, 0.2)
    return Pose(tip, side + 0.08 * stroke, Grip())


def _strip(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    turn = side + 2 * np.pi * (h.progress * 1.2 + 0.1 * np.sin(h.elapsed_s))
    pull = 0.5 + 0.5 * np.sin(2 * np.pi * 0.6 * h.elapsed_s)
    return Pose(polar(0.5 - 0.32 * pull, turn), side + 0.25 * np.sin(turn - side), Grip())


def _inject_lens(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    pull = np.clip(h.progress * 2.5 - 1.5, 0, 1)
    return Pose(
        polar(0.55 + 0.3 * pull, side), side + _tilt(rng, 0.06), Grip(push=min(1.0, h.progress * 1.6))
    )


def _tuck(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    corner = side + np.pi / 4 + np.pi / 2 * int(h.progress * 4)
    nudge = 0.06 * np.sin(2 * np.pi * 1.2 * h.elapsed_s)
    return Pose(polar(0.5 + nudge, corner), side + _tilt(rng), Grip(push=h.progress))


def _cut(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    snip = 0.5 + 0.5 * np.cos(2 * np.pi * 1.3 * h.elapsed_s)
    centre = polar(1.15, side) + 0.25 * _wander(rng, h.elapsed_s, 0.15)
    return Pose(centre, side + 0.5 + _tilt(rng), Grip(opening=float(snip)))


def _cut_rim(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    snip = 0.5 + 0.5 * np.cos(2 * np.pi * 1.3 * h.elapsed_s)
    turn = side + 1.6 * (h.progress - 0.5)
    return Pose(polar(0.68, turn), side + 0.6, Grip(opening=float(snip)))


def _stitch(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    bite = (h.elapsed_s / 2.2) % 1
    stitch = side + 2.4 * np.floor(h.elapsed_s / 2.2)
    lift = 0.25 * np.clip(bite * 2 - 1, 0, 1)
    tip = polar(0.7 + lift, stitch)
    return Pose(
        tip, side + 0.3 * np.sin(stitch), Grip(opening=float(bite > 0.85), spin=4.5 * min(bite * 2, 1.0))
    )


def _turn(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    twist = 0.7 * np.sin(2 * np.pi * 0.5 * h.elapsed_s)
    return Pose(0.02 * _wander(rng, h.elapsed_s, 0.4), side + _tilt(rng), Grip(spin=float(twist)))


def _vitreous(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    chatter = float(np.sin(2 * np.pi * 4.7 * h.elapsed_s) > 0)
    tip = 0.3 * _wander(rng, h.elapsed_s, 0.2)
    return Pose(tip, side + _tilt(rng, 0.1), Grip(opening=chatter))


def _hold(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    grab = float(np.sin(2 * np.pi * 0.35 * h.elapsed_s) > 0.8)
    tip = polar(1.0, side) + 0.06 * _wander(rng, h.elapsed_s, 0.25)
    return Pose(tip, side + _tilt(rng), Grip(opening=grab))


def _pierce(h: Handling, side: float, rng: np.random.Generator) -> Pose:
    depth = np.clip(np.sin(np.pi * np.clip(h.progress * 1.15, 0, 1)) * 1.6, 0, 1)
    tip = polar(1.42 - 0.42 * depth, side) + 0.015 * _wander(rng, h.elapsed_s, 0.8)
    return Pose(tip, side + _tilt(rng), Grip(push=float(np.clip(h.progress * 2 - 0.6, 0, 1))))


_MOVES: dict[tuple[str, str], Callable[[Handling, float, np.random.Generator], Pose]] = {
    ("", "keratome"): _thrust,
    ("scleral_flap_dissection", "keratome"): _shave,
    ("pterygium_excision", "keratome"): _shave,
    ("", "viscoelastic_cannula"): _fill,
    ("nucleus_expression", "viscoelastic_cannula"): _scoop,
    ("nucleus_expression", "hydrodissection_cannula"): _scoop,
    ("phakic_lens_implantation", "viscoelastic_cannula"): _tuck,
    ("", "cystotome"): _prick,
    ("", "capsulorhexis_forceps"): _tear,
    ("", "hydrodissection_cannula"): _flush,
    ("wound_hydration", "hydrodissection_cannula"): _seal,
    ("", "phaco_probe"): _sculpt,
    ("", "irrigation_aspiration_handpiece"): _strip,
    ("", "lens_injector"): _inject_lens,
    ("", "scissors"): _cut,
    ("trephination", "scissors"): _cut_rim,
    ("", "needle_holder"): _stitch,
    ("", "trephine"): _turn,
    ("", "vitrector"): _vitreous,
    ("", "forceps"): _hold,
    ("", "syringe"): _pierce,
}
