# SPDX-License-Identifier: Apache-2.0
"""Draw with sub-pixel shapes whose points are given in limbus radii, under any affine map."""

from __future__ import annotations

from collections.abc import Sequence

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
        self.scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))

    def pixels(self, points: Points) -> NDArray[np.float64]:
        """Map points `[N, 2]` to pixels `[N, 2]`."""
        array = np.asarray(points, dtype=np.float64)
        mapped: NDArray[np.float64] = array @ self.affine[:, :2].T + self.affine[:, 2]
        return mapped

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        return np.rint(np.clip(self.pixels(points), -8000, 8000) * _ONE).astype(np.int32)

    def polygon(self, points: Points, colour: Colour, alpha: float = 1.0) -> None:
        """Fill a polygon; `alpha` below 1 lets what is under it show."""
        fixed = self._fixed(points)
        if alpha >= 1:
            cv2.fillPoly(self.image, [fixed], colour, cv2.LINE_AA, SHIFT)
            return
        low = np.maximum(fixed.min(axis=0) // _ONE - 2, 0)
        high = np.minimum(fixed.max(axis=0) // _ONE + 3, self.image.shape[1::-1])
        if (low >= high).any():
            return
        view = self.image[low[1] : high[1], low[0] : high[0]]
        over = view.copy()
        cv2.fillPoly(over, [fixed - low.astype(np.int32) * _ONE], colour, cv2.LINE_AA, SHIFT)
        cv2.addWeighted(over, alpha, view, 1 - alpha, 0, dst=over)
        view[...] = over

    def line(self, points: Points, colour: Colour, width: float, *, closed: bool = False) -> None:
        """Draw a polyline of `width` limbus radii, one pixel at least."""
        thickness = max(1, round(width * self.scale))
        cv2.polylines(self.image, [self._fixed(points)], closed, colour, thickness, cv2.LINE_AA, SHIFT)

    def stroke(self, points: Points, colour: Colour, width: float, alpha: float) -> None:
        """Draw a translucent polyline as a ribbon."""
        array = np.asarray(points, dtype=np.float64)
        step = np.gradient(array, axis=0)
        normal = np.stack([-step[:, 1], step[:, 0]], 1)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        half = max(width, 1.2 / self.scale) / 2
        self.polygon(np.concatenate([array + normal * half, (array - normal * half)[::-1]]), colour, alpha)

    def disc(self, centre: tuple[float, float], radius: float, colour: Colour, alpha: float = 1.0) -> None:
        """Fill a circle."""
        self.polygon(circle(centre, radius, 24), colour, alpha)

    def ring(self, centre: tuple[float, float], radius: float, colour: Colour, width: float) -> None:
        """Draw a circle's line."""
        self.line(circle(centre, radius, 40), colour, width, closed=True)


def circle(centre: tuple[float, float], radius: float, count: int) -> NDArray[np.float64]:
    """Return `count` points `[count, 2]` round a circle."""
    return arc(centre, radius, 0, 2 * np.pi * (1 - 1 / count), count)


def arc(
    centre: tuple[float, float], radius: float, start: float, stop: float, count: int
) -> NDArray[np.float64]:
    """Return `count` points `[count, 2]` along an arc."""
    angle = np.linspace(start, stop, count)
    points: NDArray[np.float64] = np.stack([np.cos(angle), np.sin(angle)], 1) * radius + np.asarray(centre)
    return points


def polar(radius: float, angle: float) -> NDArray[np.float64]:
    """Return the point `[2]` at a radius and an angle from the centre of the eye."""
    return np.array([np.cos(angle), np.sin(angle)]) * radius
