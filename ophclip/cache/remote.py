# SPDX-License-Identifier: Apache-2.0
"""Read a cache in an object store: only the ranges of bytes that are asked for, some requests at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip.cache.clips import outside
from ophclip.cache.journal import Commit
from ophclip.cache.layout import VIDEOS, chunk_path, num_bytes
from ophclip.cache.location import ObjectPath
from ophclip.cache.objects import at_once
from ophclip.cache.remote_rows import RemoteRows, RemoteShardedRows
from ophclip.cache.rowfile import RowBytes, RowFileError
from ophclip.cache.store import FeatureCache

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RemoteCache(FeatureCache):
    """The committed videos of a cache in an object store, by id: as `FeatureCache`, but nothing is mapped.

    `cache[video_id]` fetches all rows of a video, each time; `gather` the rows that it copies. Safe to
    pickle, not to use after a fork.
    """

    path: ObjectPath
    MENDING = "mend it: ophclip cache repair"
    MAX_ROWS = 0

    def each_attributes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the id and the attributes of every video, sorted by id; some are fetched at once."""
        return zip(self.ids, at_once(self.attributes, self.ids), strict=True)

    def _open(self, commit: Commit) -> RowBytes:
        place = chunk_path(self.path / VIDEOS / commit.folder, len(commit.shape))
        return RemoteRows(place, num_bytes(commit.shape, self.provenance["dtype"]))

    def _copy_clips(self, ids: Sequence[str], starts: Sequence[int], clips: NDArray[Any]) -> None:
        """Fill `clips [B, length, *row_shape]`: one call for all ranges of a video, several at once."""
        length = clips.shape[1]
        numbers: dict[str, list[int]] = defaultdict(list)
        for number, (video_id, start) in enumerate(zip(ids, starts, strict=True)):
            num_rows = self.num_frames(video_id)
            if not 0 <= start < num_rows:
                raise outside(video_id, start, num_rows)
            numbers[video_id].append(number)

        def copy(video_id: str) -> None:
            rows = self._open(self._commit(video_id))
            assert isinstance(rows, RemoteRows | RemoteShardedRows)
            num_rows, own = self.num_frames(video_id), numbers[video_id]
            counts = [min(length, num_rows - starts[number]) for number in own]
            offsets = [starts[number] * self.row_bytes for number in own]
            try:
                ranges = rows.read(offsets, [count * self.row_bytes for count in counts])
            except RowFileError as error:
                raise self._unreadable(video_id, error) from error
            for number, count, data in zip(own, counts, ranges, strict=True):
                clip = clips[number]
                clip[:count] = np.frombuffer(data, self.dtype).reshape(count, *self.row_shape)
                clip[count:] = clip[count - 1]

        if length:
            for _ in at_once(copy, numbers):
                pass

    def _copy_runs(self, ids: Sequence[str], wanted: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Fill `rows [B, T, *row_shape]`: as many clips of one row, so again one call for each video."""
        each = [video_id for video_id in ids for _ in range(wanted.shape[1])]
        self._copy_clips(each, wanted.reshape(-1).tolist(), rows.reshape(len(each), 1, *self.row_shape))
