# SPDX-License-Identifier: Apache-2.0
"""A file of rows: read into a buffer, or mapped.

What is copied once is read, which takes a third of mapping it for that; what is copied again is mapped, which
takes half of reading it again. A file that is cut short behind our back is an error rather than the signal
that ends a process which reads past the end of a mapped file: its size is asked for before each copy.
"""

from __future__ import annotations

import mmap
import os
import resource
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Key = TypeVar("Key")
Value = TypeVar("Value")

# Open files a cache keeps: a training process reads several caches and has other uses for descriptors.
MAX_FILES = max(16, min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))


class RowFileError(Exception):
    """A file of rows is not there, has another size, or cannot be read; the message names it."""


class RowBytes(Protocol):
    """The bytes of the rows of one video, wherever they lie."""

    @property
    def num_bytes(self) -> int: ...

    def read_into(self, data: memoryview, offset: int) -> None:
        """Fill `data` with the bytes from `offset` on.

        Raises:
            RowFileError: they cannot be read, or have become fewer.
        """
        ...

    def map(self) -> NDArray[np.uint8]:
        """Return all bytes, read-only, and mapped where they lie in one file.

        Raises:
            RowFileError: they cannot be mapped.
        """
        ...


class RowFile:
    """An open file of a known size; closed when nobody uses it any more, also where threads share it."""

    __slots__ = ("_array", "_descriptor", "_mapped", "_path", "_was_read", "num_bytes")

    def __init__(self, path: str, num_bytes: int) -> None:
        """Open the file at `path`.

        Raises:
            RowFileError: it cannot be opened, or does not have `num_bytes`.
        """
        self._descriptor, self._path, self.num_bytes = -1, path, num_bytes
        self._was_read = False
        self._array: NDArray[np.uint8] | None = None
        self._mapped: memoryview | None = None
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            size = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise RowFileError(f"{path}: {error.strerror}") from error
        if size != num_bytes:
            raise RowFileError(f"{path} has {size} bytes, {num_bytes} were committed")

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self._descriptor >= 0:
            close(self._descriptor)

    def read_into(self, data: memoryview, offset: int) -> None:
        """Fill `data` with the bytes from `offset` on; see `RowBytes`."""
        if self._mapped is None:
            if not self._was_read:
                self._was_read = True
                return self._pread(data, offset)
            self._mapped = self.map().data
        end = offset + len(data)
        if os.lseek(self._descriptor, 0, os.SEEK_END) < end:  # its size, for half of what fstat takes
            raise self._cut()
        data[:] = self._mapped[offset:end]
        return None

    def _pread(self, data: memoryview, offset: int) -> None:
        try:
            count = os.preadv(self._descriptor, (data,), offset)
        except OSError as error:
            raise RowFileError(f"{self._path}: {error.strerror}") from error
        if count < len(data):  # the system reads 2 GiB at once at most
            if count == 0:
                raise self._cut()
            self._pread(data[count:], offset + count)

    def _cut(self) -> RowFileError:
        size = os.fstat(self._descriptor).st_size
        return RowFileError(f"{self._path} has {size} bytes, {self.num_bytes} were committed")

    def span(self, offset: int, length: int) -> NDArray[np.uint8]:
        """Return a range of bytes, mapped; raises as `map` does."""
        return self.map()[offset : offset + length]

    def map(self) -> NDArray[np.uint8]:
        """Return all bytes, mapped and shared with every process that maps them; see `RowBytes`."""
        if self._array is None:
            self._array = self._map()
        return self._array

    def _map(self) -> NDArray[np.uint8]:
        if self.num_bytes == 0:
            return np.frombuffer(b"", np.uint8)
        try:
            mapped = mmap.mmap(self._descriptor, self.num_bytes, prot=mmap.PROT_READ)
        except OSError as error:
            raise RowFileError(f"{self._path}: {error.strerror}") from error
        except ValueError as error:  # it has become shorter
            raise self._cut() from error
        return np.ndarray(self.num_bytes, np.uint8, buffer=mapped)


def remember(kept: OrderedDict[Key, Value], key: Key, value: Value, most: int) -> Value:
    """Keep what was used last, `most` of them; threads may share `kept`."""
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)
    return value
