# SPDX-License-Identifier: Apache-2.0
"""What turns frames into rows: handed in, so that the cache knows no model; and the frames it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from ophclip.video import BATCH_SIZE, Decoder, FrameFormat, FrameSource, Geometry, open_source
from ophclip.video.decode import decodes_on_gpu
from ophclip.video.engines import num_engines
from ophclip.video.frames import ARRAYS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ophclip.video.frames import Pixels

GPU_BATCH_SIZE = 256  # frames: enough to fill a GPU


class Encoder(Protocol):
    """Encodes frames; `key` holds everything that would change its rows, such as a hash of its weights."""

    @property
    def name(self) -> str: ...

    @property
    def row_shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Literal["float16", "uint8"]: ...

    @property
    def geometry(self) -> Geometry: ...

    @property
    def key(self) -> dict[str, str]: ...

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        """Encode uint8 frames `[n, H, W, 3]` of `geometry` as rows `[n, *row_shape]` of `dtype`."""
        ...


class TensorEncoder(Encoder, Protocol):
    """An encoder that also takes frames where a decoder left them, as torch tensors.

    It says so by `frame_format`. Which form comes depends on the decoder: arrays always may. When it returns
    its rows, in host memory, it must have done reading the frames, not only have queued that: their memory
    may be the decoder's.
    """

    @property
    def frame_format(self) -> FrameFormat: ...

    def __call__(self, frames: Pixels) -> NDArray[Any]:
        """Encode frames of any form that `frame_format` allows."""
        ...


class FrameRows:
    """Stores the frames themselves, uint8 `[H, W, 3]`, for training encoders."""

    name = "frames"
    dtype: Literal["uint8"] = "uint8"

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.row_shape = (geometry.height, geometry.width, 3)
        self.key: dict[str, str] = {"encoder": self.name}

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frames as they are."""
        return frames


def source_for(
    encoder: Encoder, decoder: Decoder, device: str, *, batch_size: int = BATCH_SIZE, threads: int = 0
) -> FrameSource:
    """Return the source that decodes on `device` what an encoder reads, in a form that it takes.

    Raises:
        UsageError: the decoder is unknown or not installed.
    """
    return open_source(
        decoder,
        geometry=encoder.geometry,
        device=device,
        batch_size=batch_size,
        threads=threads,
        frame_format=getattr(encoder, "frame_format", ARRAYS),
    )


def side_by_side(
    encoder: Encoder, decoder: Decoder, device: str, engines: int | None, workers: int = 1
) -> int:
    """Return how many videos one of `workers` on a device decodes at once, so that all engines are busy.

    `engines` says how many there are; None: as many as are known of a GPU. Where rows are whole frames, it is
    one: those of several videos would fill the memory.
    """
    if encoder.dtype == "uint8":
        return 1
    if engines is None:
        engines = num_engines(device) if decodes_on_gpu(decoder, device) else 1
    return max(1, -(-engines // workers))


def encode(encoder: Encoder, frames: Pixels) -> NDArray[Any]:
    """Encode frames that came from the encoder's `source_for`."""
    return cast(TensorEncoder, encoder)(frames)


def default_batch_size(device: str) -> int:
    """Return how many frames are encoded at once on a device."""
    return GPU_BATCH_SIZE if device.startswith("cuda") else BATCH_SIZE
