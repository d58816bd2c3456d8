# SPDX-License-Identifier: Apache-2.0
"""What does not move in a video, painted once: drape, lids, sclera, vessels, limbus, iris; and the lens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ophclip.corpus.simulate.painter import Painter
from ophclip.corpus.simulate.style import Style

EXTENT = 2.9  # half side of the painted square, in limbus radii
LENS_EXTENT = 0.85  # half side of the square that holds the pupil's inside

Image = NDArray[np.uint8]
Field = NDArray[np.float32]


@dataclass(frozen=True)
class Textures:
    """Square images uint8 `[S, S, 3]` RGB, and their scale in pixels per limbus radius."""

    scale: float
    eye: Image
    reflex: Image
    cataract: Image
    clear: Image
    fundus: Image


def paint_textures(style: Style, scale: float) -> Textures:
    """Paint the still parts of one video's eye at `scale` pixels per limbus radius."""
    rng = np.random.default_rng(style.texture_seed)
    return Textures(
        scale,
        _eye(rng, style, scale),
        _reflex(rng, style, scale),
        _cataract(rng, style, scale),
        _clear(rng, style, scale),
        _fundus(rng, style, scale),
    )


def affine_of(scale: float, extent: float) -> NDArray[np.float64]:
    """Return the map from limbus radii to the pixels of a painted square."""
    return np.array([[scale, 0, scale * extent], [0, scale, scale * extent]])


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> Field:
    """Return noise of mean 0 and deviation about 1 whose features are `cell` pixels wide."""
    rows, columns = (max(2, round(side / cell)) + 2 for side in shape)
    coarse = rng.normal(0, 1.2, (rows, columns)).astype(np.float32)
    fine = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(fine, (0, 0), max(0.5, 0.4 * cell)))  # no trace of the grid


def _grid(scale: float, extent: float) -> tuple[Field, Field, Field, Field]:
    side = round(2 * extent * scale)
    axis = (np.arange(side, dtype=np.float32) - scale * extent) / scale
    x, y = np.meshgrid(axis, axis)
    return x, y, np.hypot(x, y), np.arctan2(y, x)


def _mix(under: Field, over: Sequence[float] | Field, weight: Field) -> Field:
    mixed: Field = under + (np.asarray(over, np.float32) - under) * weight[..., None]
    return mixed


def _step(value: Field, edge: float, width: float) -> Field:
    ramp: Field = np.clip((value - edge) / width + 0.5, 0, 1).astype(np.float32)
    return ramp


def _to_image(field: Field) -> Image:
    return np.ascontiguousarray(np.clip(field, 0, 255).astype(np.uint8))


def _eye(rng: np.random.Generator, style: Style, scale: float) -> Image:
    x, y, r, angle = _grid(scale, EXTENT)
    shape = (x.shape[0], x.shape[1])
    image = _sclera(rng, style, shape, scale, r)
    canvas = Painter(_to_image(image), affine_of(scale, EXTENT))
    _vessels(rng, canvas, style)
    image = canvas.image.astype(np.float32)
    image = _cornea(rng, style, image, r, angle)
    image = _lids_and_drape(rng, style, image, x, y, scale)
    canvas = Painter(_to_image(image), canvas.affine)
    _lashes(rng, canvas)
    _speculum(rng, canvas)
    return canvas.image


def _sclera(rng: np.random.Generator, style: Style, shape: tuple[int, int], scale: float, r: Field) -> Field:
    white = np.full((*shape, 3), (222, 208, 200), np.float32)
    white += smooth_noise(rng, shape, scale * 0.5)[..., None] * (5, 7, 7)
    white += smooth_noise(rng, shape, scale * 0.09)[..., None] * (3, 4, 4)
    flush = np.clip(style.redness * (0.35 + 0.35 * (r - 1)), 0, 0.6).astype(np.float32)
    pink = _mix(white, (206, 118, 108), flush)
    # Wet tissue glistens in streaks, most on the side of the lamp.
    wet = smooth_noise(rng, shape, scale * 0.06) + 0.8 * smooth_noise(rng, shape, scale * 0.4)
    return _mix(pink, (255, 253, 250), (0.5 * np.clip(0.8 * wet - 1.35, 0, 1)).astype(np.float32))


def _vessels(rng: np.random.Generator, canvas: Painter, style: Style) -> None:
    for _ in range(int(14 + 44 * style.redness)):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 2.4)
        width = rng.uniform(0.006, 0.026)
        colour = (rng.uniform(150, 190), rng.uniform(40, 80), rng.uniform(44, 80))
        _vessel(rng, canvas, float(angle), float(radius), float(width), colour, depth=2)


def _vessel(
    rng: np.random.Generator,
    canvas: Painter,
    angle: float,
    radius: float,
    width: float,
    colour: tuple[float, float, float],
    depth: int,
) -> None:
    count = 14
    stop = rng.uniform(1.02, max(1.05, radius - 0.3))
    radii = np.linspace(radius, stop, count)
    angles = angle + np.cumsum(rng.normal(0, 0.018, count)) + np.linspace(0, rng.normal(0, 0.15), count)
    points = np.stack([np.cos(angles) * radii, np.sin(angles) * radii], 1)
    canvas.stroke(points, colour, width, 0.34 + 4 * width)
    if depth:
        for _ in range(int(rng.integers(1, 3))):
            at = int(rng.integers(3, count - 2))
            _vessel(rng, canvas, float(angles[at]), float(radii[at]), width * 0.6, colour, depth - 1)


def _cornea(rng: np.random.Generator, style: Style, image: Field, r: Field, angle: Field) -> Field:
    iris = _iris(rng, style, r, angle)
    rim = np.array((158, 156, 158), np.float32)
    image = _mix(image, rim, 0.75 * (1 - _step(r, 1.03, 0.12)))
    image = _mix(image, iris, 1 - _step(r, 0.96, 0.07))
    shade = 1 + 0.1 * np.cos(angle - 0.8) * np.clip(r, 0, 1) * (r < 1.02)
    shaded: Field = image * shade[..., None].astype(np.float32)
    return shaded


def _iris(rng: np.random.Generator, style: Style, r: Field, angle: Field) -> Field:
    columns = 360
    streaks = np.zeros((64, columns), np.float32)
    for cell, weight in ((1.3, 0.4), (3.0, 0.35), (9.0, 0.3)):
        line = rng.normal(0, 1, (3, int(columns / cell))).astype(np.float32)
        streaks += weight * np.asarray(cv2.resize(line, (columns, 64), interpolation=cv2.INTER_CUBIC))
    u = ((angle / (2 * np.pi)) % 1 * (columns - 1)).astype(np.float32)
    v = np.clip(r * 62, 0, 62).astype(np.float32)
    texture = np.asarray(cv2.remap(streaks, u, v, cv2.INTER_LINEAR))
    collarette = np.exp(-(((r - 0.5 - 0.02 * np.sin(7 * angle)) / 0.05) ** 2))
    brightness = 1 + 0.34 * texture + 0.35 * collarette - 0.35 * _step(r, 0.88, 0.12)
    colour: Field = np.asarray(style.iris, np.float32) * brightness[..., None].astype(np.float32)
    return colour


def _lids_and_drape(
    rng: np.random.Generator, style: Style, image: Field, x: Field, y: Field, scale: float
) -> Field:
    shape = (x.shape[0], x.shape[1])
    wobble = 0.06 * smooth_noise(rng, shape, scale * 0.6)
    lid = (x / 2.35) ** 2 + (y / 1.5) ** 2 + wobble
    skin = np.full((*shape, 3), (196, 140, 118), np.float32)
    skin += smooth_noise(rng, shape, scale * 0.12)[..., None] * (9, 9, 8)
    folds = smooth_noise(rng, shape, scale * 0.55) * 0.12 + smooth_noise(rng, shape, scale * 0.16) * 0.05
    drape = np.asarray(style.drape, np.float32) * (1 + folds[..., None])
    image = image * (1 - 0.3 * np.clip(lid - 0.55, 0, 0.5))[..., None]  # the globe falls away
    image = _mix(image, (182, 96, 92), _step(lid, 0.94, 0.12))  # the conjunctival fold
    image = _mix(image, skin, _step(lid, 1.1, 0.1))
    return _mix(image, drape, _step(lid + wobble, float(rng.uniform(1.3, 1.6)), 0.06))


def _lashes(rng: np.random.Generator, canvas: Painter) -> None:
    for side in (-1.0, 1.0):
        for x in np.linspace(-1.6, 1.6, int(rng.integers(0, 22))):
            y = side * 1.52 * np.sqrt(1 - (x / 2.45) ** 2)
            bend = rng.normal(0, 0.1)
            points = [(x, y), (x * 1.05 + bend, y + side * 0.16), (x * 1.12 + bend * 2, y + side * 0.3)]
            canvas.line(points, (44, 32, 28), 0.012)


def _speculum(rng: np.random.Generator, canvas: Painter) -> None:
    half = float(rng.uniform(0.5, 0.9))
    for side in (-1.0, 1.0):
        y = side * float(rng.uniform(1.28, 1.42))
        loop = np.array(
            [
                (-half - 0.1, y + side * 0.7),
                (-half, y),
                (-half * 0.6, y - side * 0.1),
                (half * 0.6, y - side * 0.1),
                (half, y),
                (half + 0.1, y + side * 0.7),
            ]
        )
        canvas.line(loop + np.array((0.03, 0.05)), (70, 50, 46), 0.1)
        canvas.line(loop, (128, 132, 138), 0.09)
        canvas.line(loop - np.array((0.012, 0.015)), (236, 240, 246), 0.025)


def _disc_base(style: Style, scale: float, inner: Sequence[float], outer: Sequence[float]) -> Field:
    _, _, r, _ = _grid(scale, LENS_EXTENT)
    base = np.broadcast_to(np.asarray(inner, np.float32), (*r.shape, 3))
    return _mix(np.array(base), outer, np.clip(r / 0.75, 0, 1) ** 2)


def _reflex(rng: np.random.Generator, style: Style, scale: float) -> Image:
    red = np.asarray(style.reflex, np.float32)
    image = _disc_base(style, scale, np.minimum(red * 1.15 + 22, 255).tolist(), (red * 0.55).tolist())
    image *= 1 + 0.05 * smooth_noise(rng, (image.shape[0], image.shape[1]), scale * 0.3)[..., None]
    return _to_image(image)


def _cataract(rng: np.random.Generator, style: Style, scale: float) -> Image:
    density = style.lens_density
    nucleus = np.array((206, 206, 192)) * (1 - density) + np.array((168, 116, 52)) * density
    rim = np.array((150, 140, 128)) * (1 - density) + np.array((112, 62, 34)) * density
    image = _disc_base(style, scale, nucleus.tolist(), rim.tolist())
    _, _, r, angle = _grid(scale, LENS_EXTENT)
    spokes = np.clip(np.sin(angle * int(rng.integers(5, 10)) + 3 * r) * 1.6 - 0.7, 0, 1) * np.clip(
        r * 2 - 0.4, 0, 1
    )
    image = _mix(image, (222, 218, 208), (0.4 * spokes).astype(np.float32))
    image *= 1 + 0.07 * smooth_noise(rng, (r.shape[0], r.shape[1]), scale * 0.1)[..., None]
    return _to_image(image)


def _clear(rng: np.random.Generator, style: Style, scale: float) -> Image:
    red = np.asarray(style.reflex, np.float32)
    image = _disc_base(style, scale, (red * 0.3 + (10, 8, 10)).tolist(), (16, 10, 12))
    return _to_image(image)


def _fundus(rng: np.random.Generator, style: Style, scale: float) -> Image:
    image = _disc_base(style, scale, (236, 128, 52), (150, 56, 24))
    image *= 1 + 0.06 * smooth_noise(rng, (image.shape[0], image.shape[1]), scale * 0.15)[..., None]
    canvas = Painter(_to_image(image), affine_of(scale, LENS_EXTENT))
    head = (float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.15, 0.15)))
    for angle in rng.uniform(-0.5, 0.5, 6) + np.array([0.9, -0.9, 2.2, -2.2, 1.4, -1.5]):
        turns = angle + np.cumsum(rng.normal(0, 0.16, 12))
        steps = np.stack([np.cos(turns), np.sin(turns)], 1) * 0.075
        canvas.line(np.cumsum(steps, axis=0) + head, (140, 26, 20), 0.022)
    canvas.disc(head, 0.1, (250, 214, 150))
    canvas.disc(head, 0.045, (255, 240, 200))
    return canvas.image
