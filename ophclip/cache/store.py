# SPDX-License-Identifier: Apache-2.0
"""Read a cache: committed videos only, their rows mapped straight from the file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip.cache.journal import Commit, read_commits
from ophclip.cache.layout import DTYPES, VIDEOS, chunk_path, num_bytes, read_metadata, read_root
from ophclip.errors import DamageError, UsageError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_OPEN = 256  # mapped videos; each holds a file descriptor


def open_cache(path: str | Path) -> FeatureCache:
    """Open the cache at `path` for reading.

    Only the journal is read, so opening does not slow down with the number of files.

    Raises:
        UsageError: there is no cache.
        DamageError: its metadata or journal cannot be read.
    """
    if str(path).startswith("s3:/"):  # a Path keeps one slash of the two
        raise UsageError(f"{path}: object stores are not supported", remedy="name a local folder")
    return FeatureCache(Path(path))


class FeatureCache:
    """The committed videos of a cache, by id.

    Safe to pickle and to use after a fork; each process maps the files itself and shares their pages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.provenance: dict[str, Any] = read_root(path)
        self.row_shape: tuple[int, ...] = tuple(self.provenance["row_shape"])
        self.dtype = DTYPES[self.provenance["dtype"]]
        self._rows: OrderedDict[str, NDArray[Any]] = OrderedDict()
        self._times: OrderedDict[str, NDArray[np.float64]] = OrderedDict()
        self.refresh()

    def refresh(self) -> None:
        """See what writers have committed since the cache was opened."""
        commits = read_commits(self.path)
        for video_id in {*self._rows, *self._times}:
            if commits.get(video_id) != self._commits.get(video_id):
                self._rows.pop(video_id, None)
                self._times.pop(video_id, None)
        self._commits: dict[str, Commit] = commits

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
            rows = self._map(video_id, self._commit(video_id))
        return _remember(self._rows, video_id, rows)

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
        return _remember(self._times, video_id, times)

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
        attributes = dict(read_metadata(folder)["attributes"])
        if attributes.get("video_id") != video_id:
            raise DamageError(
                f"{folder}: must hold video {video_id!r}, got {attributes.get('video_id')!r}",
                remedy=f"remove {folder} and run the same cache build again",
            )
        return attributes

    def gather(
        self, ids: Sequence[str], starts: Sequence[int], length: int, *, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Copy `length` rows from `starts[i]` on of each video into one array `[B, length, *row_shape]`.

        Past the end of a video its last row is repeated. `out` is filled instead of a new array; for a torch
        tensor, which may be pinned, pass its `.numpy()`.

        Raises:
            UsageError: a video is not in the cache, a start lies outside it, or `out` does not fit.
        """
        if length < 0:
            raise UsageError(f"length must not be negative, got {length}", remedy="pass a number of rows")
        shape = (len(ids), length, *self.row_shape)
        if len(starts) != len(ids):
            raise UsageError(f"starts must be one an id: {len(ids)}, got {len(starts)}", remedy="pass both")
        if out is None:
            out = np.empty(shape, dtype=self.dtype)
        elif out.shape != shape or out.dtype != self.dtype:
            raise UsageError(
                f"out must be {self.dtype} {list(shape)}, got {out.dtype} {list(out.shape)}",
                remedy="leave it out, or make it of that shape",
            )
        for slot, video_id, start in zip(out, ids, starts, strict=True):
            _copy_clip(self[video_id], video_id, start, slot)
        return out

    def __getstate__(self) -> dict[str, Any]:
        # Maps do not travel between processes; the reader opens its own.
        return self.__dict__ | {"_rows": OrderedDict(), "_times": OrderedDict()}

    def _folder(self, video_id: str) -> Path:
        return self.path / VIDEOS / self._commit(video_id).folder

    def _commit(self, video_id: str) -> Commit:
        try:
            return self._commits[video_id]
        except KeyError:
            remedy = did_you_mean(video_id, self._commits) if 0 < len(self) < 1000 else "see ophclip cache ls"
            raise UsageError(f"{self.path} holds no video {video_id!r}", remedy=remedy) from None

    def _map(self, video_id: str, commit: Commit) -> NDArray[Any]:
        path = chunk_path(self.path / VIDEOS / commit.folder, len(commit.shape))
        expected = num_bytes(commit.shape, self.provenance["dtype"])
        try:
            size = path.stat().st_size
            if size != expected:
                raise _damage(video_id, f"{path} has {size} bytes, {expected} were committed")
            return np.memmap(path, dtype=self.dtype, mode="r", shape=commit.shape)
        except OSError as error:
            raise _damage(video_id, f"{path}: {error.strerror or error}") from error


def _damage(video_id: str, what: str) -> DamageError:
    return DamageError(f"video {video_id!r}: {what}", remedy="run the same cache build again to mend it")


def _copy_clip(rows: NDArray[Any], video_id: str, start: int, slot: NDArray[Any]) -> None:
    if not 0 <= start < len(rows):
        raise UsageError(
            f"start must lie in [0, {len(rows)}) of video {video_id!r}, got {start}",
            remedy="draw starts below num_frames",
        )
    available = min(len(slot), len(rows) - start)
    slot[:available] = rows[start : start + available]
    slot[available:] = rows[-1]


def _remember(kept: OrderedDict[str, NDArray[Any]], video_id: str, value: NDArray[Any]) -> NDArray[Any]:
    kept.pop(video_id, None)  # safe also where threads share a cache
    kept[video_id] = value
    if len(kept) > MAX_OPEN:
        kept.popitem(last=False)
    return value
