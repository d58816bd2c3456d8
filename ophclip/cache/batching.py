# SPDX-License-Identifier: Apache-2.0
"""The third stage of a build: frames become rows, a video at a time or several in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ophclip.cache.pieces import Broken, Closed, Frames, Job, Piece, Rows
from ophclip.errors import OphclipError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ophclip.video.frames import Pixels

Encode = Callable[["Pixels", Job], "NDArray[Any]"]  # the job is the one whose time it takes


def encode_alone(pieces: Iterator[Piece | None], encode: Encode) -> Iterator[Piece]:
    """Encode the frames of each video by themselves, as they come."""
    for piece in pieces:
        if not isinstance(piece, Frames):
            if piece is not None:
                yield piece
        elif not piece.job.is_given_up:
            try:
                yield Rows(piece.job, encode(piece.frames, piece.job))
            except UsageError:
                raise
            except (OphclipError, OSError) as error:
                piece.job.is_given_up = True
                yield Broken(piece.job.item, error, piece.job.file, piece.job)


def encode_together(pieces: Iterator[Piece | None], encode: Encode, batch_size: int) -> Iterator[Piece]:
    """Encode frames in batches of `batch_size` that several videos share; their order stays.

    Every batch has the full size, the last ones filled up with black: so the kernels of a GPU are always
    the same, and a row does not depend on which videos it met. Frames of two decoders share none, as they
    differ in form. None in `pieces` says that nothing comes for now: then a batch with the end of a video in
    it does not wait for company.
    """
    batch = _Batch(batch_size)
    for piece in pieces:
        if isinstance(piece, Frames):
            yield from batch.add(piece, encode)
        elif piece is not None:
            batch.waiting.append(piece)
        if batch.num_frames == 0 or (piece is None and batch.has_an_end):
            yield from batch.emptied(encode)
    yield from batch.emptied(encode)


class _Batch:
    """Frames that wait for a full batch, and the pieces that wait behind them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._form: tuple[object, ...] = ()
        self.num_frames = 0
        self.waiting: list[Piece] = []

    @property
    def has_an_end(self) -> bool:
        return any(isinstance(piece, Closed | Broken) for piece in self.waiting)

    def add(self, piece: Frames, encode: Encode) -> Iterator[Piece]:
        frames, form = piece.frames, _form(piece.frames)
        if self.num_frames and form != self._form:
            yield from self.emptied(encode)
        self._form = form
        while len(frames):
            room = self._size - self.num_frames
            part, frames = frames[:room], frames[room:]
            self.waiting.append(Frames(piece.job, part))
            self.num_frames += len(part)
            if self.num_frames == self._size:
                yield from self.emptied(encode)

    def emptied(self, encode: Encode) -> Iterator[Piece]:
        waiting, self.waiting, self.num_frames = self.waiting, [], 0
        parts = [piece for piece in waiting if isinstance(piece, Frames)]
        rows, begin = self._rows(parts, encode) if parts else None, 0
        for piece in waiting:
            if isinstance(piece, Frames) and rows is not None:
                end = begin + len(piece.frames)
                yield Rows(piece.job, rows[begin:end])
                begin = end
            else:
                yield piece

    def _rows(self, parts: list[Frames], encode: Encode) -> NDArray[Any]:
        # The parts stay referenced until the rows are there: their memory may be the decoder's.
        rows = encode(_full([part.frames for part in parts], self._size), parts[0].job)
        if len(rows) != self._size:
            raise UsageError(
                f"the encoder must give a row a frame: {self._size}, got {len(rows)}",
                remedy="mend the encoder, or encode videos one by one",
            )
        return rows


def _form(frames: Pixels) -> tuple[object, ...]:
    """Return what frames must have in common to be one batch."""
    return type(frames), frames.dtype, frames.shape[1:], getattr(frames, "device", None)


def _full(parts: list[Any], size: int) -> Pixels:
    """Return frames of one form as one batch of `size`, filled up with zeros; a full one as it is."""
    first = parts[0]
    if len(first) == size:
        return cast("Pixels", first)
    num_frames = sum(map(len, parts))
    if isinstance(first, np.ndarray):
        batch = np.zeros((size, *first.shape[1:]), dtype=first.dtype)
        np.concatenate(parts, out=batch[:num_frames])
        return batch
    import torch

    together = first.new_zeros((size, *first.shape[1:]))
    torch.cat(parts, out=together[:num_frames])
    return cast("Pixels", together)
