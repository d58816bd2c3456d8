# SPDX-License-Identifier: Apache-2.0
"""Decode planned frames with NVIDIA DALI: NVDEC on a GPU; VP8, VP9 and MJPEG also without one.

The only module that imports DALI. Every frame is asked for by its number and checked by its time: DALI pads
a truncated file without a word, and numbers the frames of some containers differently.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip.errors import OphclipError, UsageError
from ophclip.video.batches import batched
from ophclip.video.geometry import Geometry
from ophclip.video.probe import VideoInfo
from ophclip.video.sampling import SamplingPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

CPU_CODECS = frozenset({"vp8", "vp9", "mjpeg"})
GPU_CODECS = CPU_CODECS | {"h264", "hevc", "av1", "mpeg4"}
FRAMES_PER_RUN = 16  # of full size, held decoded at once
NUM_THREADS = 2


class DaliRefusedError(OphclipError):
    """DALI cannot give the planned frames of this video; another decoder may."""


class DaliSource:
    """A `FrameSource` over DALI on `device` ("cpu", "cuda" or "cuda:N").

    One pipeline a video, so a damaged file breaks only its own.

    Raises:
        UsageError: DALI is not installed.
    """

    name = "dali"

    def __init__(self, geometry: Geometry, *, device: str, batch_size: int) -> None:
        if not is_installed():
            raise UsageError(
                "the dali decoder needs NVIDIA DALI, which is not installed",
                remedy="pip install 'ophclip[gpu]', or pass --decoder pyav",
            )
        self.geometry = geometry
        self.batch_size = batch_size
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

    def read(self, info: VideoInfo, plan: SamplingPlan) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 batches `[n, H, W, 3]`, RGB, in the order of the plan.

        Raises:
            DaliRefusedError: the codec is not supported here, the file is damaged, or DALI's frames are not
                the planned ones.
        """
        if info.by_count:
            raise self._refused(info, "its container has no presentation times")
        if not self.supports(info):
            where = "a CPU" if self._device_id is None else "a GPU"
            raise DaliRefusedError(
                f"{info.path}: DALI does not decode {info.codec} on {where}", remedy="pass --decoder pyav"
            )
        wanted, repeats = np.unique(plan.pts, return_counts=True)
        return batched(self._pictures(info, wanted), repeats, self.geometry, self.batch_size)

    def _pictures(self, info: VideoInfo, wanted: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        numbers = np.searchsorted(info.pts, wanted)
        times_s = (wanted - info.pts[0]) * float(info.time_base)
        with tempfile.TemporaryDirectory(prefix="ophclip-dali-") as folder:
            # DALI's list splits at blanks: the link gives any file a plain name.
            link = Path(folder) / f"video{info.path.suffix if info.path.suffix[1:].isalnum() else ''}"
            link.symlink_to(info.path)
            lines = (f"{link} {row} {number} {number + 1}\n" for row, number in enumerate(numbers))
            listing = Path(folder) / "frames.txt"
            listing.write_text("".join(lines), encoding="utf-8")
            row = 0
            for pictures, got_numbers, got_times_s in self._runs(info, listing, len(wanted)):
                count = min(len(pictures), len(wanted) - row)  # the last run is filled up
                same = got_numbers[:count] == numbers[row : row + count]
                same &= np.abs(got_times_s[:count] - times_s[row : row + count]) <= _tolerance_s(info)
                if not same.all():
                    raise self._refused(info, "its frames are not those of the container's packet times")
                for picture in pictures[:count]:
                    yield self.geometry.cut(np.rot90(picture, info.rotation // 90))
                row += count

    def _runs(
        self, info: VideoInfo, listing: Path, num_frames: int
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64]]]:
        width, height = self.geometry.scaled_size(info.width, info.height)
        if info.rotation in (90, 270):
            width, height = height, width
        batch_size = min(FRAMES_PER_RUN, num_frames)
        try:
            pipeline = _pipeline(listing, width, height, batch_size, self._device_id)
            for _ in range(-(-num_frames // batch_size)):
                pictures, numbers, times_s = (_to_host(output) for output in pipeline.run())
                yield pictures[:, 0], numbers.reshape(-1), times_s.reshape(-1)
        except (RuntimeError, ValueError) as error:
            raise self._refused(info, _reason(error)) from error

    def _refused(self, info: VideoInfo, reason: str) -> DaliRefusedError:
        return DaliRefusedError(
            f"{info.path}: DALI cannot decode it: {reason}",
            remedy="pass --decoder pyav; if that fails too, the file is damaged",
        )


def is_installed() -> bool:
    """Return whether DALI can be imported, without importing it."""
    try:
        return importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:
        return False


def _pipeline(listing: Path, width: int, height: int, batch_size: int, device_id: int | None) -> Any:
    from nvidia.dali import fn, types
    from nvidia.dali.pipeline import Pipeline

    pipeline = Pipeline(
        batch_size=batch_size, num_threads=NUM_THREADS, device_id=device_id, prefetch_queue_depth=1
    )
    with pipeline:
        # One sequence a frame: the reader keeps its place in the file between them.
        readers: Any = fn.experimental.readers  # its stub misses the extra outputs
        video, _, number, time_s = readers.video(
            device="cpu" if device_id is None else "gpu",
            file_list=str(listing),
            file_list_format="frames",
            file_list_include_end=False,
            sequence_length=1,
            enable_frame_num="sequence",
            enable_timestamps=True,
            pad_last_batch=True,
        )
        scaled = fn.resize(video, resize_x=width, resize_y=height, interp_type=types.INTERP_TRIANGULAR)
        pipeline.set_outputs(scaled, number, time_s)
    pipeline.build()
    return pipeline


def _to_host(output: Any) -> NDArray[Any]:
    return np.array(output.as_cpu().as_array())  # a copy: the pipeline owns and reuses its buffers


def _tolerance_s(info: VideoInfo) -> float:
    return 0.5 * float(info.time_base) + 1e-6


def _reason(error: Exception) -> str:
    """Return the line of a DALI error that says what happened, without the tracebacks around it."""
    told = str(error).rpartition("encountered:")[2]
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]
