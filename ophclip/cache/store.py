# SPDX-License-Identifier: Apache-2.0
"""Read a cache: committed videos only, their rows mapped straight from the file."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ophclip.cache.clips import as_array, as_ints, as_row_numbers, outside, runs
from ophclip.cache.journal import Commit, read_commits
from ophclip.cache.layout import DTYPES, VIDEOS, chunk_name, num_bytes, read_metadata, read_root
from ophclip.cache.location import Location, ObjectPath, location
from ophclip.cache.rowfile import MAX_FILES, RowBytes, RowFile, RowFileError, remember
from ophclip.errors import DamageError, OphclipError, UsageError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

MAX_OPEN = 256  # mapped videos; each holds a file descriptor
NOT_PICKLED = ("_rows", "_times", "_files")


def open_cache(path: str | Location) -> FeatureCache:
    """Open the cache at `path`, packed or not, or in an object store (`s3://bucket/prefix`), for reading.

    Only the journal is read, so opening does not slow down with the number of files.

    Raises:
        UsageError: there is no cache.
        DamageError: its metadata or journal cannot be read.
        StorageError: the object store cannot be reached, or refuses.
    """
    from ophclip.cache.packed import PackedCache, is_packed  # which are made from the class below
    from ophclip.cache.remote import RemoteCache
    from ophclip.cache.remote_packed import RemotePackedCache

    place = location(path)
    if isinstance(place, ObjectPath):
        return RemotePackedCache(place) if is_packed(place) else RemoteCache(place)
    return PackedCache(place) if is_packed(place) else FeatureCache(place)


class FeatureCache:
    """The committed videos of a cache, by id.

    Safe to pickle and to use after a fork; each process maps the files itself and shares their pages.
    """

    MENDING = "run the same cache build again to mend it"
    MAX_ROWS = MAX_OPEN  # of which videos `cache[...]` keeps the rows

    def __init__(self, path: Location) -> None:
        self.path = path
        self.provenance: dict[str, Any] = self._read_root()
        self.row_shape: tuple[int, ...] = tuple(self.provenance["row_shape"])
        self.dtype = DTYPES[self.provenance["dtype"]]
        self.row_bytes = math.prod(self.row_shape) * self.dtype.itemsize
        self._commits: dict[str, Commit] = {}
        self._forget()
        self.refresh()

    def refresh(self) -> None:
        """See what writers have committed since the cache was opened.

        Until then a video that is replaced keeps its old rows where they were in use already.
        """
        commits = read_commits(self.path)
        for kept in (self._rows, self._times, self._files):
            for video_id in list(kept):
                if commits.get(video_id) != self._commits.get(video_id):
                    kept.pop(video_id, None)
        self._commits = commits

    @property
    def ids(self) -> list[str]:
        """The committed video ids, sorted."""
        return list(self._commits)

    def __len__(self) -> int:
        return len(self._commits)

    def __iter__(self) -> Iterator[str]:
        return iter(self._commits)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._commits

    def __getitem__(self, video_id: str) -> NDArray[Any]:
        """Return the rows `[T, *row_shape]` of a video, read-only and without a copy.

        Raises:
            UsageError: the video is not in the cache.
            DamageError: its rows are not what was committed.
        """
        rows = self._rows.get(video_id)
        if rows is None:
            rows = self._map(self._commit(video_id))
        return remember(self._rows, video_id, rows, self.MAX_ROWS)

    def entry(self, video_id: str) -> Commit:
        """Return what the journal says of a video.

        Raises:
            UsageError: the video is not in the cache.
        """
        return self._commit(video_id)

    def num_frames(self, video_id: str) -> int:
        """Return the number of rows of a video."""
        return self._commit(video_id).shape[0]

    def times(self, video_id: str) -> NDArray[np.float64]:
        """Return the true presentation time of each row in seconds, `[T]`, read-only.

        Raises:
            UsageError: the video is not in the cache.
            DamageError: its metadata cannot be read.
        """
        times = self._times.get(video_id)
        if times is None:
            times = np.array(self.attributes(video_id).get("frame_times_s", []), dtype=np.float64)
            if len(times) != self.num_frames(video_id):
                folder = self._folder(video_id)
                raise DamageError(
                    f"{folder}: {self.num_frames(video_id)} rows, but {len(times)} times",
                    remedy=f"remove {folder} and run the same cache build again",
                )
            times.flags.writeable = False
        return remember(self._times, video_id, times, MAX_OPEN)

    def source_path(self, video_id: str) -> Path:
        """Return where the video file lay when its rows were stored."""
        return Path(self._commit(video_id).source_path)

    def source_mtime_ns(self, video_id: str) -> int:
        """Return when the video file had last been changed, in nanoseconds since 1970."""
        return self._commit(video_id).source_mtime_ns

    def attributes(self, video_id: str) -> dict[str, Any]:
        """Return what is stored beside the rows of a video (`layout.VideoAttributes`).

        Raises:
            UsageError: the video is not in the cache.
            DamageError: its metadata cannot be read, or is another video's.
        """
        folder = self._folder(video_id)
        try:
            attributes = dict(read_metadata(folder)["attributes"])
        except DamageError as error:
            raise self._replaced(video_id) or error from error
        found = attributes.get("video_id")
        if found != video_id:
            raise DamageError(
                f"{folder}: must hold video {video_id!r}, got {found!r}",
                remedy=f"remove {folder} and run the same cache build again",
            )
        if attributes.get("source_sha256") != self._commit(video_id).source_sha256:
            raise self._replaced(video_id) or DamageError(
                f"{folder}: the metadata is not that of the video that was committed",
                remedy=f"remove {folder} and run the same cache build again",
            )
        return attributes

    @overload
    def gather(
        self, ids: Sequence[str], starts: ArrayLike, length: int, *, out: NDArray[Any] | None = None
    ) -> NDArray[Any]: ...

    @overload
    def gather(self, ids: Sequence[str], starts: ArrayLike, length: int, *, out: Tensor) -> Tensor: ...

    def gather(
        self,
        ids: Sequence[str],
        starts: ArrayLike,
        length: int,
        *,
        out: NDArray[Any] | Tensor | None = None,
    ) -> NDArray[Any] | Tensor:
        """Copy `length` rows from `starts[i]` on of each video into one array `[B, length, *row_shape]`.

        Past the end of a video its last row is repeated. `out`, an array or a torch tensor on the CPU, which
        may be pinned, is filled and returned instead of a new array.

        Raises:
            UsageError: a video is not in the cache, a start lies outside it, or `out` does not fit.
            DamageError: its rows are not what was committed.
        """
        if length < 0:
            raise UsageError(f"length must not be negative, got {length}", remedy="pass a number of rows")
        begins = as_ints(starts)
        if len(begins) != len(ids):
            raise UsageError(f"starts must be one an id: {len(ids)}, got {len(begins)}", remedy="pass both")
        shape = (len(ids), length, *self.row_shape)
        array = np.empty(shape, dtype=self.dtype) if out is None else as_array(out, shape, self.dtype)
        if array.flags.c_contiguous:
            self._copy_clips(ids, begins, array)
        else:
            array[...] = self.gather(ids, begins, length)
        return array if out is None else out

    @overload
    def take(
        self, ids: Sequence[str], rows: ArrayLike, *, out: NDArray[Any] | None = None
    ) -> NDArray[Any]: ...

    @overload
    def take(self, ids: Sequence[str], rows: ArrayLike, *, out: Tensor) -> Tensor: ...

    def take(
        self, ids: Sequence[str], rows: ArrayLike, *, out: NDArray[Any] | Tensor | None = None
    ) -> NDArray[Any] | Tensor:
        """Copy rows `rows[i]` of each video, in any order, into one array `[B, T, *row_shape]`.

        As `gather`, which takes one run of rows of each video; neighbouring rows are copied at once here too.

        Raises:
            UsageError: a video is not in the cache, a row lies outside it, or `out` does not fit.
            DamageError: its rows are not what was committed.
        """
        wanted = as_row_numbers(rows, len(ids))
        shape = (*wanted.shape, *self.row_shape)
        array = np.empty(shape, dtype=self.dtype) if out is None else as_array(out, shape, self.dtype)
        if array.flags.c_contiguous:
            self._copy_runs(ids, wanted, array)
        else:
            array[...] = self.take(ids, wanted)
        return array if out is None else out

    def __getstate__(self) -> dict[str, Any]:
        # Maps and open files do not travel between processes; the reader opens its own.
        return {name: value for name, value in self.__dict__.items() if name not in NOT_PICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def each_attributes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the id and the attributes of every video, sorted by id; raises as `attributes` does."""
        return ((video_id, self.attributes(video_id)) for video_id in self.ids)

    def _read_root(self) -> dict[str, Any]:
        """Return the provenance."""
        return read_root(self.path)

    def _forget(self) -> None:
        self._rows: OrderedDict[str, NDArray[Any]] = OrderedDict()
        self._times: OrderedDict[str, NDArray[np.float64]] = OrderedDict()
        self._files: OrderedDict[str, RowBytes] = OrderedDict()

    def _copy_clips(self, ids: Sequence[str], starts: Sequence[int], clips: NDArray[Any]) -> None:
        """Fill `clips [B, length, *row_shape]`, which is contiguous."""
        row_bytes = self.row_bytes
        size, at = clips.shape[1] * row_bytes, 0
        data = clips.reshape(-1).view(np.uint8).data
        for number, (video_id, start) in enumerate(zip(ids, starts, strict=True)):
            rows = self._files.get(video_id) or self._open_kept(video_id)
            offset = start * row_bytes
            available = rows.num_bytes - offset
            if offset < 0 or available <= 0:
                raise outside(video_id, start, rows.num_bytes // row_bytes)
            try:
                if available >= size:
                    rows.read_into(data[at : at + size], offset)
                else:
                    rows.read_into(data[at : at + available], offset)
                    clip, count = clips[number], available // row_bytes
                    clip[count:] = clip[count - 1]
            except RowFileError as error:
                raise self._unreadable(video_id, error) from error
            at += size

    def _copy_runs(self, ids: Sequence[str], wanted: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Fill `rows [B, T, *row_shape]`, which is contiguous, with rows `wanted [B, T]`."""
        row_bytes, at = self.row_bytes, 0
        data = rows.reshape(-1).view(np.uint8).data
        for number, start, count in zip(*runs(wanted), strict=True):
            video_id = ids[number]
            file = self._files.get(video_id) or self._open_kept(video_id)
            offset, size = start * row_bytes, count * row_bytes
            if offset < 0 or offset + size > file.num_bytes:
                bad = start if offset < 0 else max(start, file.num_bytes // row_bytes)
                raise outside(video_id, bad, file.num_bytes // row_bytes, what="row")
            try:
                file.read_into(data[at : at + size], offset)
            except RowFileError as error:
                raise self._unreadable(video_id, error) from error
            at += size

    def _open_kept(self, video_id: str) -> RowBytes:
        try:
            rows = self._open(self._commit(video_id))
        except RowFileError as error:
            raise self._unreadable(video_id, error) from error
        return remember(self._files, video_id, rows, MAX_FILES)

    def _map(self, commit: Commit) -> NDArray[Any]:
        try:
            return self._open(commit).map().view(self.dtype).reshape(commit.shape)
        except RowFileError as error:
            raise self._unreadable(commit.video_id, error) from error

    def _open(self, commit: Commit) -> RowBytes:
        """Return where the rows of a video can be read and mapped.

        Raises:
            RowFileError: they are not there, or of another size.
        """
        # A text, for joining paths takes longer than opening the file.
        path = f"{self.path}/{VIDEOS}/{commit.folder}/{chunk_name(len(commit.shape))}"
        return RowFile(path, num_bytes(commit.shape, self.provenance["dtype"]))

    def _folder(self, video_id: str) -> Location:
        return self.path / VIDEOS / self._commit(video_id).folder

    def _commit(self, video_id: str) -> Commit:
        try:
            return self._commits[video_id]
        except KeyError:
            remedy = did_you_mean(video_id, self._commits) if 0 < len(self) < 1000 else "see ophclip cache ls"
            raise UsageError(f"{self.path} holds no video {video_id!r}", remedy=remedy) from None

    def _unreadable(self, video_id: str, error: RowFileError) -> OphclipError:
        return self._replaced(video_id) or DamageError(f"video {video_id!r}: {error}", remedy=self.MENDING)

    def _replaced(self, video_id: str) -> OphclipError | None:
        """Return what to say where a writer has replaced a video since the cache was opened."""
        if read_commits(self.path).get(video_id) == self._commits.get(video_id):
            return None
        return OphclipError(
            f"video {video_id!r} was replaced since {self.path} was opened",
            remedy="call refresh(), or open the cache again",
        )
