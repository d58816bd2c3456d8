# SPDX-License-Identifier: Apache-2.0
"""How one video looks: its microscope, its eye, its room and its recording, drawn once per video."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

RGB = tuple[float, float, float]

IRIS_COLOURS: tuple[RGB, ...] = (
    (96, 60, 34),
    (66, 40, 26),
    (86, 116, 140),
    (92, 108, 74),
    (122, 92, 52),
    (120, 128, 130),
)
DRAPES: tuple[RGB, ...] = (
    (44, 96, 130),
    (40, 110, 96),
    (70, 124, 160),
    (118, 92, 74),
    (150, 160, 170),
    (60, 74, 100),
)
GLOVES: tuple[RGB, ...] = ((226, 214, 196), (236, 236, 240), (120, 150, 190), (206, 180, 140))


@dataclass(frozen=True)
class Style:
    """Everything that stays the same through a video; lengths in limbus radii, angles in radians."""

    rotation: float
    mirrored: bool
    limbus_width: float  # limbus radius as a fraction of the frame's width
    centre: tuple[float, float]  # of the eye, as an offset in limbus radii
    aim: float  # how far the microscope is moved from the eye's centre towards the wound
    iris: RGB
    drape: RGB
    glove: RGB
    redness: float
    lens_density: float  # 0 milky grey .. 1 brown
    reflex: RGB
    pupil: float
    wound_angle: float
    side_angle: float
    cast: RGB  # gains of red, green and blue
    gamma: float
    saturation: float
    noise: float
    vignette: float
    darkness: float  # of the room, for surgery in the vitreous
    mask: str  # "none", "circle" or "letterbox"
    overlay: str
    has_clock: bool
    lights: int  # corneal reflexes of the lamp
    tremor: float
    texture_seed: int


def draw_style(rng: np.random.Generator, procedure: str, *, rare: bool = False) -> Style:
    """Draw the look of a video; `rare` looks are further out: other masks, casts and magnifications."""
    spread = 1.5 if rare else 1.0
    is_lens = procedure in _DILATED
    wound = float(rng.uniform(-0.35, 0.35)) - np.pi / 2 * float(rng.integers(0, 2))
    return Style(
        rotation=float(rng.normal(0, 0.5 * spread)) + np.pi * float(rng.random() < 0.3),
        mirrored=bool(rng.random() < 0.5),
        limbus_width=float(np.exp(rng.uniform(np.log(0.25), np.log(0.37)))) * (1.12 if is_lens else 0.88),
        centre=(float(rng.normal(0, 0.15)), float(rng.normal(0, 0.1))),
        aim=float(rng.uniform(0.6, 1.2)) * _AIMS.get(procedure, 0.0),
        iris=_jitter(rng, IRIS_COLOURS[int(rng.integers(len(IRIS_COLOURS)))], 0.12),
        drape=_jitter(rng, DRAPES[int(rng.integers(len(DRAPES)))], 0.2),
        glove=_jitter(rng, GLOVES[int(rng.integers(len(GLOVES)))], 0.06),
        redness=float(rng.beta(2, 3)),
        lens_density=float(rng.random()),
        reflex=_hsv(rng.uniform(0.99, 1.06) % 1, rng.uniform(0.6, 0.92), rng.uniform(0.5, 0.95)),
        pupil=float(rng.uniform(0.58, 0.74) if is_lens else rng.uniform(0.26, 0.46)),
        wound_angle=wound,
        side_angle=wound + float(rng.choice((-1, 1))) * float(rng.uniform(1.1, 1.7)),
        cast=tuple(np.exp(rng.normal(0, 0.11 * spread, 3)) * np.exp(rng.normal(0, 0.14))),
        gamma=float(np.exp(rng.normal(0, 0.2 * spread))),
        saturation=float(rng.uniform(0.55, 1.25)),
        noise=float(rng.uniform(1.5, 7 * spread)),
        vignette=float(rng.uniform(0.05, 0.55)),
        darkness=_darkness(rng, procedure),
        mask=str(
            rng.choice(["none", "circle", "letterbox"], p=[0.4, 0.3, 0.3] if rare else [0.78, 0.12, 0.1])
        ),
        overlay=str(rng.choice(["", "", "", "OR 2", "HD 1080", "EYE", "REC", "Case 7", "Dr. K"])),
        has_clock=bool(rng.random() < 0.15),
        lights=int(rng.integers(1, 4)),
        tremor=float(rng.uniform(0.4, 1.6)),
        texture_seed=int(rng.integers(2**31)),
    )


_DILATED = frozenset(
    {
        "phacoemulsification_surgery",
        "manual_small_incision_cataract_surgery",
        "phakic_lens_surgery",
        "pars_plana_vitrectomy",
    }
)

# Where the work is beside the cornea, the view goes there.
_AIMS = {"trabeculectomy": 0.6, "pterygium_surgery": 0.5, "intravitreal_injection_surgery": 0.35}


def _darkness(rng: np.random.Generator, procedure: str) -> float:
    if procedure == "pars_plana_vitrectomy":
        return float(rng.uniform(0.1, 0.75))
    return float(rng.uniform(0.2, 0.5) if rng.random() < 0.06 else 0.0)


def _jitter(rng: np.random.Generator, colour: RGB, amount: float) -> RGB:
    red, green, blue = np.clip(np.array(colour) * np.exp(rng.normal(0, amount, 3)), 0, 255)
    return float(red), float(green), float(blue)


def _hsv(hue: float, saturation: float, value: float) -> RGB:
    red, green, blue = colorsys.hsv_to_rgb(float(hue), float(saturation), float(value))
    return red * 255, green * 255, blue * 255
