# SPDX-License-Identifier: Apache-2.0
"""Draw with sub-pixel shapes whose points are given in limbus radii, under any affine map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64] | Sequence[tuple[float, float]]
Colour = Sequence[float]

SHIFT = 4
_ONE = 1 << SHIFT


class Painter:
    """Draws on `image` (uint8 `[H, W, C]`); `affine` float64 `[2, 3]` maps limbus radii to pixels."""

    def __init__(self, image: NDArray[np.uint8], affine: NDArray[np.float64]) -> None:
        self.image = image
        self.affine = affine
        (a, b, _), (c, d, _) = affine.tolist()
        self.scale = math.sqrt(abs(a * d - b * c))
        self._linear, self._offset = affine[:, :2].T * _ONE, affine[:, 2] * _ONE  # to fixed point

    def pixels(self, points: Points) -> NDArray[np.float64]:
        """Map points `[N, 2]` to pixels `[N, 2]`."""
        array = np.asarray(points, dtype=np.float64)
        mapped: NDArray[np.float64] = array @ self.affine[:, :2].T + self.affine[:, 2]
        return mapped

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        mapped = np.asarray(points, dtype=np.float64) @ self._linear
        mapped += self._offset
        return np.rint(mapped, out=mapped).astype(np.int32)

    def polygon(self, points: Points, colour: Colour, alpha: float = 1.0) -> None:
        """Fill a polygon; `alpha` below 1 lets what is under it show."""
        fixed = self._fixed(points)
        if alpha >= 1:
            cv2.fillPoly(self.image, [fixed], colour, cv2.LINE_AA, SHIFT)
            return
        x, y, width, height = cv2.boundingRect(fixed)
        left, top = max(x // _ONE - 2, 0), max(y // _ONE - 2, 0)
        view = self.image[top : max((y + height) // _ONE + 3, 0), left : max((x + width) // _ONE + 3, 0)]
        if view.size:
            over = view.copy()
            cv2.fillPoly(
                over, [fixed - np.array((left * _ONE, top * _ONE), np.int32)], colour, cv2.LINE_AA, SHIFT
            )
            cv2.addWeighted(over, alpha, view, 1 - alpha, 0, dst=view)

    def line(self, points: Points, colour: Colour, width: float, *, closed: bool = False) -> None:
        """Draw a polyline of `width` limbus radii, one pixel at least."""
        thickness = max(1, round(width * self.scale))
        cv2.polylines(self.image, [self._fixed(points)], closed, colour, thickness, cv2.LINE_AA, SHIFT)

    def stroke(self, points: Points, colour: Colour, width: float, alpha: float) -> None:
        """Draw a translucent polyline as a ribbon."""
        array = np.asarray(points, dtype=np.float64)
        step = np.concatenate([array[1:2] - array[:1], array[2:] - array[:-2], array[-1:] - array[-2:-1]])
        half = max(width, 1.2 / self.scale) / 2
        length = np.maximum(np.sqrt((step * step).sum(axis=1, keepdims=True)), 1e-9)
        normal = step[:, ::-1] * (-half, half) / length
        self.polygon(np.concatenate([array + normal, (array - normal)[::-1]]), colour, alpha)

    def disc(self, centre: tuple[float, float], radius: float, colour: Colour, alpha: float = 1.0) -> None:
        """Fill a circle."""
        self.polygon(circle(centre, radius, 24), colour, alpha)

    def ring(self, centre: tuple[float, float], radius: float, colour: Colour, width: float) -> None:
        """Draw a circle's line."""
        self.line(circle(centre, radius, 40), colour, width, closed=True)


def circle(centre: tuple[float, float], radius: float, count: int) -> NDArray[np.float64]:
    """Return `count` points `[count, 2]` round a circle."""
    return _unit_circle(count) * radius + centre


@lru_cache
def _unit_circle(count: int) -> NDArray[np.float64]:
    return arc((0.0, 0.0), 1.0, 0.0, 2 * np.pi * (1 - 1 / count), count)


def blob(rng: np.random.Generator, centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return the outline `[14, 2]` of an uneven drop."""
    reach = radius * (1 + 0.45 * np.sin(np.arange(14) * rng.integers(1, 4) * 0.449 + rng.uniform(0, 6.28)))
    outline: NDArray[np.float64] = _unit_circle(14) * reach[:, None] + centre
    return outline


def ragged(seed: int, outline: NDArray[np.float64], amount: float) -> NDArray[np.float64]:
    """Return an outline `[N, 2]` with uneven edges `[6 N, 2]`, as tissue has them."""
    ahead = np.roll(outline, -1, axis=0)
    share = np.arange(6)[None, :, None] / 6
    points = (outline[:, None] * (1 - share) + ahead[:, None] * share).reshape(-1, 2)
    return points + np.random.default_rng(seed).normal(0, amount, points.shape)


def arc(
    centre: tuple[float, float], radius: float, start: float, stop: float, count: int
) -> NDArray[np.float64]:
    """Return `count` points `[count, 2]` along an arc."""
    angle = start + (stop - start) / (count - 1) * np.arange(count)
    points = np.empty((count, 2))
    np.cos(angle, out=points[:, 0])
    np.sin(angle, out=points[:, 1])
    points *= radius
    points += centre
    return points


def polar(radius: float, angle: float) -> NDArray[np.float64]:
    """Return the point `[2]` at a radius and an angle from the centre of the eye."""
    return np.array((radius * math.cos(angle), radius * math.sin(angle)))
