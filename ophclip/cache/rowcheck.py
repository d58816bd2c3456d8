# SPDX-License-Identifier: Apache-2.0
"""What every writer asks of the rows it is given, wherever it stores them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip.cache.layout import DTYPES
from ophclip.errors import OphclipError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def checked_rows(
    rows: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: str, video_id: str
) -> Iterator[memoryview]:
    """Yield the bytes of batches `[n, *shape[1:]]`, as they are stored; together `shape[0]` rows.

    Raises:
        UsageError: a batch is of another shape or type.
        OphclipError: a value is not finite, or there are more or fewer rows.
    """
    count = 0
    for batch in rows:
        checked = _checked(batch, shape[1:], dtype, video_id)
        count += len(checked)
        yield checked.reshape(-1).view(np.uint8).data
    if count != shape[0]:
        raise OphclipError(
            f"{video_id}: {shape[0]} rows were planned, got {count}", remedy="check the encoder"
        )


def _checked(batch: NDArray[Any], row_shape: tuple[int, ...], dtype: str, video_id: str) -> NDArray[Any]:
    if batch.ndim < 1 or batch.shape[1:] != row_shape or batch.dtype != DTYPES[dtype]:
        raise UsageError(
            f"{video_id}: the encoder must give {dtype} [n, {', '.join(map(str, row_shape))}], "
            f"got {batch.dtype} {list(batch.shape)}",
            remedy="mend the encoder's row_shape and dtype",
        )
    if batch.dtype.kind == "f" and not np.isfinite(batch).all():
        raise OphclipError(
            f"{video_id}: the features must be finite, got inf or nan", remedy="check the encoder's range"
        )
    return np.ascontiguousarray(batch, dtype=DTYPES[dtype])
