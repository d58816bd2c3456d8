# SPDX-License-Identifier: Apache-2.0
"""The microscope's view and the recording: framing, focus, exposure, noise, masks and overlays."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ophclip.corpus.simulate.painter import polar
from ophclip.corpus.simulate.style import Style

Image = NDArray[np.uint8]
NOISE_FIELDS = 6


class Camera:
    """One video's camera: frames of `width` x `height` pixels; `rng` draws its drift and its refocusing."""

    def __init__(
        self, rng: np.random.Generator, style: Style, width: int, height: int, seconds: float
    ) -> None:
        self.style, self.width, self.height = style, width, height
        self._phases = rng.uniform(0, 2 * np.pi, 12)
        self._refocus_s = np.sort(rng.uniform(0, seconds, int(rng.integers(0, 3))))
        self._zoom_s = float(rng.uniform(0.2, 0.8) * seconds)
        self._zoom_step = float(np.exp(rng.normal(0, 0.12))) if rng.random() < 0.3 else 1.0
        sigma = style.noise * np.sqrt(width / 160)
        size = (NOISE_FIELDS, height, width, 1)
        grain = rng.normal(0, sigma, size) + rng.normal(0, 0.4 * sigma, (*size[:3], 3))
        self._noise = grain.astype(np.int8)
        self._colours = _colour_matrix(style)
        self._curve = _tone_curve(style)
        self._shade = _vignette(style, width, height)
        self._blind = _mask(style, width, height)

    def affine(self, time_s: float) -> NDArray[np.float64]:
        """Return the map `[2, 3]` from limbus radii to the pixels of the frame at a time."""
        p, style = self._phases, self.style
        zoom = 1 + (self._zoom_step - 1) * float(np.clip((time_s - self._zoom_s) / 0.8, 0, 1))
        scale = style.limbus_width * self.width * zoom * (1 + 0.012 * np.sin(0.5 * time_s + p[0]))
        angle = style.rotation + 0.03 * np.sin(0.31 * time_s + p[1])
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        linear = np.array([[cosine, -sine], [sine, cosine]])
        if style.mirrored:
            linear = linear @ np.diag([-1.0, 1.0])
        sway = np.array([np.sin(0.7 * time_s + p[2]), np.cos(0.53 * time_s + p[3])]) * 0.06
        shake = np.array([np.sin(19 * time_s + p[4]), np.cos(23 * time_s + p[5])]) * 0.006 * style.tremor
        offset = (np.array(style.centre) + sway + shake) * scale + (self.width / 2, self.height / 2)
        offset -= linear @ polar(style.aim, style.wound_angle)
        return np.concatenate([linear, offset[:, None]], axis=1)

    def develop(self, frame: Image, index: int, time_s: float) -> Image:
        """Turn the drawn scene uint8 `[H, W, 3]` into the recorded frame."""
        blur = max((1.6 * np.exp(-(((time_s - at) / 0.35) ** 2)) for at in self._refocus_s), default=0.0)
        if blur > 0.25:
            frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), blur * self.width / 160))
        frame = np.asarray(cv2.multiply(frame, self._shade, scale=1 / 255))
        frame = np.asarray(cv2.transform(frame, self._colours * self._exposure(time_s)))
        frame = np.asarray(cv2.LUT(frame, self._curve))
        noise = self._noise[index % NOISE_FIELDS]
        frame = np.asarray(cv2.add(frame, np.roll(noise, (index * 7) % self.height, axis=0), dtype=cv2.CV_8U))
        if self._blind is not None:
            frame = np.asarray(cv2.bitwise_and(frame, self._blind))
        self._write_overlay(frame, time_s)
        return frame

    def _exposure(self, time_s: float) -> float:
        return float(1 + 0.06 * np.sin(0.4 * time_s + self._phases[6]))

    def _write_overlay(self, frame: Image, time_s: float) -> None:
        size = self.width / 400
        texts = (
            [(self.style.overlay, (int(0.03 * self.width), int(0.96 * self.height)))]
            if self.style.overlay
            else []
        )
        if self.style.has_clock:
            texts.append(
                (
                    f"{int(time_s) // 60:02d}:{int(time_s) % 60:02d}",
                    (int(0.76 * self.width), int(0.09 * self.height)),
                )
            )
        for text, place in texts:
            cv2.putText(
                frame,
                text,
                place,
                cv2.FONT_HERSHEY_SIMPLEX,
                size,
                (236, 236, 230),
                max(1, round(size)),
                cv2.LINE_AA,
            )


def _tone_curve(style: Style) -> Image:
    ramp = np.linspace(0, 1, 256)
    return np.asarray(np.clip(ramp**style.gamma * 255, 0, 255).astype(np.uint8))


def _colour_matrix(style: Style) -> NDArray[np.float32]:
    grey = np.full((3, 3), 1 / 3)
    mix = np.eye(3) * style.saturation + grey * (1 - style.saturation)
    matrix: NDArray[np.float32] = (np.diag(np.array(style.cast)) @ mix).astype(np.float32)
    return matrix


def _vignette(style: Style, width: int, height: int) -> Image:
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    r = np.hypot(x, y * height / width)
    shade = 1 - style.vignette * np.clip(r - 0.35, 0, 1)
    shade *= 1 - style.darkness * np.clip((r - 0.25) * 2.2, 0, 1)
    return np.repeat(np.clip(shade * 255, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _mask(style: Style, width: int, height: int) -> Image | None:
    blind = np.zeros((height, width, 3), np.uint8)
    if style.mask == "circle":
        cv2.circle(blind, (width // 2, height // 2), int(height * 0.56), (255, 255, 255), -1, cv2.LINE_AA)
    elif style.mask == "letterbox":
        margin = int(height * 0.1)
        blind[margin : height - margin] = 255
    else:
        return None
    return blind
