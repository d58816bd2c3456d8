# SPDX-License-Identifier: Apache-2.0
"""Read picture files as an encoder wants them, with the decoder and the scaler that videos have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ophclip.errors import OphclipError
from ophclip.video.geometry import Geometry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def read_picture(path: Path, geometry: Geometry) -> NDArray[np.uint8]:
    """Return a picture (PNG, JPEG, BMP, TIFF) as uint8 `[H, W, 3]` of `geometry`, RGB.

    Raises:
        OphclipError: it cannot be read; it is named.
    """
    import av

    try:
        # By handle: FFmpeg takes a % in a name for a pattern.
        with path.open("rb") as file, av.open(file) as container:
            frame = next(container.decode(video=0))
            width, height = geometry.scaled_size(frame.width, frame.height)
            scaled = frame.reformat(width, height, "rgb24", interpolation="BILINEAR")
            return geometry.cut(scaled.to_ndarray())
    except (OSError, StopIteration, av.error.FFmpegError, IndexError) as error:
        reason = str(error) or "it holds no picture"
        raise OphclipError(f"{path} cannot be read: {reason}", remedy="fetch the picture again") from error
