# SPDX-License-Identifier: Apache-2.0
"""From a timeline and a style to frames: the eye, what surgery did to it, the hands, and the recording."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ophclip.corpus.simulate.camera import Camera
from ophclip.corpus.simulate.extras import draw_drops, draw_extras, extra_handlings
from ophclip.corpus.simulate.instruments import REACH, draw_instrument, half_width
from ophclip.corpus.simulate.motion import Pose, pose_of
from ophclip.corpus.simulate.painter import Painter, polar
from ophclip.corpus.simulate.procedures import Timeline
from ophclip.corpus.simulate.pupil import draw_pupil
from ophclip.corpus.simulate.state import EyeState, state_at
from ophclip.corpus.simulate.style import Style
from ophclip.corpus.simulate.surface import draw_reflexes, draw_surface
from ophclip.corpus.simulate.textures import EXTENT, Textures, affine_of, paint_textures

FPS = 12
SHARPNESS = 1.15  # painted pixels per frame pixel: the view is resampled once, and stays crisp


class Renderer:
    """Draws the frames of one video, each from its time alone; `seed` draws the camera's movements.

    Frames are uint8 `[H, W, 3]` RGB, `width` x 3/4 `width` pixels. Instruments in `hidden` are left out.
    """

    def __init__(
        self,
        timeline: Timeline,
        style: Style,
        width: int,
        seed: int = 0,
        *,
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        self.timeline, self.style, self._hidden = timeline, style, hidden
        self.width, self.height = width, width * 3 // 4 // 2 * 2
        rng = np.random.default_rng([seed, style.texture_seed])
        self._camera = Camera(rng, style, width, self.height, timeline.seconds)
        self._textures: Textures = paint_textures(style, SHARPNESS * style.limbus_width * width)
        self._seed = seed

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames of the whole video at `FPS`."""
        for index in range(round(self.timeline.seconds * FPS)):
            yield self.frame(index)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Draw one frame."""
        time_s = index / FPS
        state = state_at(self.timeline, time_s)
        affine = self._camera.affine(time_s)
        frame = self._view(self._draw_eye(state), affine)
        scene = Painter(frame, affine)
        self._draw_hands(scene, state)
        return self._camera.develop(scene.image, index, time_s)

    def _draw_eye(self, state: EyeState) -> NDArray[np.uint8]:
        canvas = Painter(self._textures.eye.copy(), affine_of(self._textures.scale, EXTENT))
        draw_pupil(canvas, self._textures, self.style, state)
        draw_surface(canvas, self.style, state)
        draw_reflexes(canvas, self.style, state)
        return canvas.image

    def _view(self, eye: NDArray[np.uint8], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
        from_painted = np.column_stack(
            (affine[:, :2] / self._textures.scale, affine[:, 2] - affine[:, :2] @ (EXTENT, EXTENT))
        )
        drape = tuple(0.8 * part for part in self.style.drape)
        return np.asarray(
            cv2.warpAffine(
                eye,
                from_painted,
                (self.width, self.height),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=drape,
            )
        )

    def _draw_hands(self, scene: Painter, state: EyeState) -> None:
        poses = [
            (handling.instrument, pose_of(handling, self.style))
            for handling in state.handlings
            if handling.instrument not in self._hidden
        ]
        extras = extra_handlings(self.style, state, self.timeline.seconds)
        self._shadows(scene, [*extras, *poses])
        draw_drops(scene, self.style, state)
        for instrument, pose in [*extras, *poses]:
            draw_instrument(Painter(scene.image, _local(scene.affine, pose)), instrument, pose.grip)
        draw_extras(scene, self.style, state, [pose for _, pose in poses])

    def _shadows(self, scene: Painter, poses: list[tuple[str, Pose]]) -> None:
        if not poses:
            return
        shade = np.full((self.height // 2, self.width // 2), 255, np.uint8)
        painter = Painter(shade, scene.affine / 2)
        fall = np.array((0.06, 0.1))
        for instrument, pose in poses:
            if instrument == "trephine":
                painter.ring((0.06, 0.1), 0.78, (150,), 0.22)
            start, stop = (
                pose.tip + polar(0.35, pose.angle) + fall,
                pose.tip + polar(REACH, pose.angle) + fall * 3,
            )
            painter.stroke([tuple(start), tuple(stop)], (140,), 2.2 * half_width(instrument), 0.99)
        shade = np.asarray(cv2.resize(cv2.blur(shade, (5, 5)), (self.width, self.height)))
        cv2.multiply(scene.image, cv2.merge([shade, shade, shade]), dst=scene.image, scale=1 / 255)


def _local(affine: NDArray[np.float64], pose: Pose) -> NDArray[np.float64]:
    cosine, sine = np.cos(pose.angle), np.sin(pose.angle)
    place = np.array([[cosine, -sine, pose.tip[0]], [sine, cosine, pose.tip[1]], [0, 0, 1]])
    mapped: NDArray[np.float64] = (np.vstack([affine, (0, 0, 1)]) @ place)[:2]
    return mapped
