# SPDX-License-Identifier: Apache-2.0
"""Decode planned frames with NVIDIA DALI: NVDEC on a GPU; VP8, VP9 and MJPEG also without one.

The only module that imports DALI. Decoding, scaling, turning, cutting and, where it is wanted, normalising
are one pipeline; what it gives is handed to torch without a copy.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip.errors import OphclipError, UsageError
from ophclip.video.frames import ARRAYS, FrameFormat
from ophclip.video.geometry import Geometry
from ophclip.video.probe import VideoInfo
from ophclip.video.sampling import SamplingPlan
from ophclip.video.wanted import Wanted, listing, segments

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ophclip.video.frames import Pixels

    Run = tuple[Tensor, NDArray[np.int64], NDArray[np.float64]]

CPU_CODECS = frozenset({"vp8", "vp9", "mjpeg"})
GPU_CODECS = CPU_CODECS | {"h264", "hevc", "av1", "mpeg4"}
DECODED_BYTES = 256 << 20  # of full-size pictures that a run of the pipeline holds at once
NUM_THREADS = 2


class DaliRefusedError(OphclipError):
    """DALI cannot give the planned frames of this video; another decoder may."""


class DaliSource:
    """A `FrameSource` over DALI on `device` ("cpu", "cuda" or "cuda:N").

    One pipeline a `read`, so a damaged file breaks only its own. Used by one thread at a time.

    Raises:
        UsageError: DALI is not installed.
    """

    name = "dali"

    def __init__(
        self, geometry: Geometry, *, device: str, batch_size: int, frame_format: FrameFormat = ARRAYS
    ) -> None:
        if not is_installed():
            raise UsageError(
                "the dali decoder needs NVIDIA DALI, which is not installed",
                remedy="pip install 'ophclip[gpu]', or pass --decoder pyav",
            )
        self.geometry = geometry
        self.batch_size = batch_size
        self._format = frame_format
        self._device_id = int(device.partition(":")[2] or 0) if device.startswith("cuda") else None
        self.used = f"{self.name} {self.version}"

    @property
    def version(self) -> str:
        """DALI's version and where it decodes."""
        import nvidia.dali

        return f"{nvidia.dali.__version__} {'cpu' if self._device_id is None else 'gpu'}"

    def supports(self, info: VideoInfo) -> bool:
        """Return whether DALI decodes this codec on this device."""
        return info.codec in (CPU_CODECS if self._device_id is None else GPU_CODECS)

    def group_of(self, info: VideoInfo) -> Hashable | None:
        """Return what videos that one pipeline can read together have in common; None: it reads alone."""
        if info.by_count or not self.supports(info):
            return None
        return (self._scaled_size(info), info.rotation, info.width * info.height)

    def read(self, info: VideoInfo, plan: SamplingPlan) -> Iterator[Pixels]:
        """Yield batches as `FrameSource.read` does.

        Raises:
            DaliRefusedError: the codec is not supported here, the file is damaged, or DALI's frames are not
                the planned ones.
        """
        if info.by_count:
            raise _refused(info, "its container has no presentation times")
        if not self.supports(info):
            where = "a CPU" if self._device_id is None else "a GPU"
            raise DaliRefusedError(
                f"{info.path}: DALI does not decode {info.codec} on {where}", remedy="pass --decoder pyav"
            )
        return (frames for _, frames in self.read_together([(info, plan)]))

    def read_together(self, videos: Sequence[tuple[VideoInfo, SamplingPlan]]) -> Iterator[tuple[int, Pixels]]:
        """Yield the batches of several videos of one group, in order, each with the number of its video.

        Raises:
            DaliRefusedError: some of the videos cannot be read; those whose frames all came are right.
        """
        wanted = [Wanted.of(info, plan) for info, plan in videos]
        total, first = sum(map(len, wanted)), 0
        with listing(wanted) as path:
            for pictures, numbers, times_s in self._runs(wanted[0].info, path, total):
                begin = 0
                for video, place, count in segments(wanted, first, min(len(pictures), total - first)):
                    part = slice(begin, begin + count)  # the last run is filled up
                    if not wanted[video].are(place, numbers[part], times_s[part]):
                        what = "its frames are not those of the container's packet times"
                        raise _refused(wanted[video].info, what)
                    repeats = wanted[video].repeats[place : place + count]
                    frames = _repeated(pictures[part], repeats)
                    for row in range(0, len(frames), self.batch_size):
                        batch = frames[row : row + self.batch_size]
                        yield video, (batch if self._format.as_tensors else batch.cpu().numpy())
                    begin += count
                first += begin

    def _runs(self, info: VideoInfo, path: Path, num_frames: int) -> Iterator[Run]:
        """Yield what each run of a pipeline gives: pictures, their numbers, and their seconds."""
        most = max(1, DECODED_BYTES // (3 * info.width * info.height))
        batch_size = min(most, self.batch_size, num_frames)
        try:
            pipeline = self._pipeline(info, path, batch_size)
            for _ in range(-(-num_frames // batch_size)):
                pictures, numbers, times_s = pipeline.run()
                yield _as_tensor(pictures)[:, 0], _to_host(numbers), _to_host(times_s)
        except (RuntimeError, ValueError) as error:
            raise _refused(info, _reason(error)) from error

    def _scaled_size(self, info: VideoInfo) -> tuple[int, int]:
        """Return the width and height to scale to, as stored: before the picture is turned."""
        width, height = self.geometry.scaled_size(info.width, info.height)
        return (height, width) if info.rotation in (90, 270) else (width, height)

    def _pipeline(self, info: VideoInfo, path: Path, batch_size: int) -> Any:
        from nvidia.dali import fn, types
        from nvidia.dali.pipeline import Pipeline

        # Only outputs of the dynamic executor may be kept while the pipeline runs on.
        pipeline = Pipeline(
            batch_size=batch_size,
            num_threads=NUM_THREADS,
            device_id=self._device_id,
            prefetch_queue_depth=1,
            exec_dynamic=True,
        )
        width, height = self._scaled_size(info)
        with pipeline:
            # One sequence a frame: the reader keeps its place in the file between them.
            readers: Any = fn.experimental.readers  # its stub misses the extra outputs
            video, _, number, time_s = readers.video(
                device="cpu" if self._device_id is None else "gpu",
                file_list=str(path),
                file_list_format="frames",
                file_list_include_end=False,
                sequence_length=1,
                enable_frame_num="sequence",
                enable_timestamps=True,
                pad_last_batch=True,
            )
            scaled = fn.resize(video, resize_x=width, resize_y=height, interp_type=types.INTERP_TRIANGULAR)
            pipeline.set_outputs(self._cut(_turned(scaled, info.rotation), info), number, time_s)
        pipeline.build()
        return pipeline

    def _cut(self, frames: Any, info: VideoInfo) -> Any:
        """Cut the centre as `Geometry.cut` does, and normalise it if that is wanted."""
        from nvidia.dali import fn, types

        width, height = self.geometry.scaled_size(info.width, info.height)
        window: dict[str, Any] = {
            "crop": (self.geometry.height, self.geometry.width),
            "crop_pos_y": _position(height - self.geometry.height),
            "crop_pos_x": _position(width - self.geometry.width),
        }
        normal = self._format.normalization
        if not (self._format.as_tensors and normal):
            return fn.crop(frames, **window)
        return fn.crop_mirror_normalize(
            frames,
            **window,
            mean=[255 * value for value in normal.mean],
            std=[255 * value for value in normal.std],
            dtype=types.FLOAT16,
            output_layout="FCHW",
        )


def is_installed() -> bool:
    """Return whether DALI can be imported, without importing it."""
    try:
        return importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:
        return False


def _position(margin: int) -> float:
    """Return the share of a margin that DALI must leave ahead of the cut: its half, rounded down."""
    return (margin // 2) / margin if margin else 0.0


def _turned(frames: Any, rotation: int) -> Any:
    """Turn frames of layout FHWC counter-clockwise by a multiple of 90 degrees."""
    from nvidia.dali import fn

    if rotation == 180:
        return fn.flip(frames, horizontal=1, vertical=1)
    if rotation not in (90, 270):
        return frames
    swapped = fn.transpose(frames, perm=[0, 2, 1, 3], transpose_layout=False)
    return fn.flip(swapped, horizontal=0, vertical=1) if rotation == 90 else fn.flip(swapped)


def _as_tensor(output: Any) -> Tensor:
    """Return an output as a tensor over the same memory, which stays lent for as long as the tensor lives."""
    from torch.utils.dlpack import from_dlpack

    return from_dlpack(output.as_tensor())


def _repeated(pictures: Tensor, repeats: NDArray[np.int64]) -> Tensor:
    if (repeats == 1).all():
        return pictures
    import torch

    counts = torch.from_numpy(repeats).to(pictures.device)
    repeated = pictures.repeat_interleave(counts, dim=0)
    if repeated.is_cuda:
        torch.cuda.current_stream(repeated.device).synchronize()  # before the memory of `pictures` goes back
    return repeated


def _to_host(output: Any) -> NDArray[Any]:
    return np.array(output.as_cpu().as_array()).reshape(-1)


def _refused(info: VideoInfo, reason: str) -> DaliRefusedError:
    return DaliRefusedError(
        f"{info.path}: DALI cannot decode it: {reason}",
        remedy="pass --decoder pyav; if that fails too, the file is damaged",
    )


def _reason(error: Exception) -> str:
    """Return the line of a DALI error that says what happened, without the tracebacks around it."""
    told = str(error).rpartition("encountered:")[2]
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]
