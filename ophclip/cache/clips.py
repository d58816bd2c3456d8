# SPDX-License-Identifier: Apache-2.0
"""What `gather` is called with: row numbers, and memory to fill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor


def as_ints(starts: ArrayLike) -> list[int]:
    """Return the row numbers `[B]` as a list.

    Raises:
        UsageError: they are not whole numbers in one dimension.
    """
    values = np.asarray(starts)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise UsageError(
            f"starts must be whole numbers [B], got {values.dtype} {list(values.shape)}",
            remedy="pass one row number an id",
        )
    found: list[int] = values.tolist()
    return found


def as_array(out: NDArray[Any] | Tensor, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `out` as an array of the same memory.

    Raises:
        UsageError: it is not of that shape and type, not writable, or not in the CPU's memory.
    """
    if isinstance(out, np.ndarray):
        array = out
    elif out.device.type == "cpu" and not out.requires_grad:
        array = out.numpy()
    else:
        raise UsageError(
            f"out must be an array, or a tensor on the CPU without a gradient, got one on {out.device}",
            remedy="gather into pinned memory, then copy it to the device",
        )
    if array.shape != shape or array.dtype != dtype or not array.flags.writeable:
        raise UsageError(
            f"out must be {dtype} {list(shape)}, got {array.dtype} {list(array.shape)}"
            f"{'' if array.flags.writeable else ', read-only'}",
            remedy="leave it out, or make it of that shape",
        )
    return array


def as_row_numbers(rows: ArrayLike, num_videos: int) -> NDArray[np.int64]:
    """Return the row numbers `[B, T]`, one line a video.

    Raises:
        UsageError: they are not whole numbers of that shape.
    """
    values = np.asarray(rows)
    if values.ndim != 2 or len(values) != num_videos or (values.size and values.dtype.kind not in "iu"):
        raise UsageError(
            f"rows must be whole numbers [{num_videos}, T], got {values.dtype} {list(values.shape)}",
            remedy="pass one line of row numbers an id",
        )
    return values.astype(np.int64, copy=False)


def runs(rows: NDArray[np.int64]) -> tuple[list[int], list[int], list[int]]:
    """Cut row numbers `[B, T]` into runs of neighbours: line, first row and length of each, in order."""
    begins = np.ones(rows.shape, dtype=bool)
    begins[:, 1:] = np.diff(rows, axis=1) != 1
    first = np.flatnonzero(begins)
    lengths = np.diff(first, append=rows.size)
    return (first // max(1, rows.shape[1])).tolist(), rows.reshape(-1)[first].tolist(), lengths.tolist()


def outside(video_id: str, start: int, num_rows: int, what: str = "start") -> UsageError:
    """Return the error of a start, or a row, past the rows of its video."""
    return UsageError(
        f"{what} must lie in [0, {num_rows}) of video {video_id!r}, got {start}",
        remedy="draw starts below num_frames",
    )
