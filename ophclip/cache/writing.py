# SPDX-License-Identifier: Apache-2.0
"""The last stage of a build: rows become committed videos, and failures become lines of the journal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ophclip.cache.clock import StageClock
from ophclip.cache.inputs import CacheInput, as_text
from ophclip.cache.pieces import Again, Broken, Closed, Job, Opened, Piece, Rows, Skipped
from ophclip.cache.report import Outcome
from ophclip.cache.source_file import SourceFile
from ophclip.cache.writer import Writer
from ophclip.errors import OphclipError, StorageError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _AgainError(Exception):
    """The rows so far are void, and others follow."""


def written(pieces: Iterator[Piece | None], writer: Writer, clock: StageClock) -> Iterator[Outcome]:
    """Store the videos of which `pieces` come, and yield what became of each.

    Raises:
        UsageError: the encoder does not give the rows it promised.
        StorageError: the cache cannot be written.
    """
    for piece in pieces:
        outcome: Outcome | None = None
        if isinstance(piece, Opened):
            outcome = _stored(piece.job, piece, pieces, writer, clock)
        elif isinstance(piece, Skipped):
            outcome = Outcome(piece.item.video_id, "skipped")
        elif isinstance(piece, Broken) and not (piece.job and piece.job.is_settled):
            outcome = _failed(piece, writer)
        if outcome is not None:  # other pieces are of a video that was given up
            clock.forget(outcome.video_id)
            yield replace(outcome, stage_seconds=clock.take_seconds())


def reason_of(error: OphclipError | OSError) -> str:
    """Return why a video failed, as it is recorded: one line of text, whatever the file is called."""
    if isinstance(error, OphclipError):
        return as_text(error.message)  # with the path, which may be no text
    return as_text(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def given_up(item: CacheInput, what: str, writer: Writer) -> Outcome:
    """Record that a video failed whose worker cannot say so itself."""
    reason = as_text(f"{item.path}: {what}")
    try:
        state = asdict(SourceFile.of(item.path))
    except OSError:
        state = {}
    writer.fail(item.video_id, reason, **state)
    return Outcome(item.video_id, "failed", reason=reason)


def _stored(
    job: Job, opened: Opened, pieces: Iterator[Piece | None], writer: Writer, clock: StageClock
) -> Outcome | None:
    video_id = job.item.video_id
    try:
        with clock.working("write", video_id):
            count = writer.store(
                video_id,
                _rows(job, pieces, clock),
                opened.attributes(),
                source_path=job.file.source_path,
                source_mtime_ns=job.file.source_mtime_ns,
            )
        return Outcome(video_id, "committed", count)
    except (StorageError, UsageError):
        raise
    except _AgainError:
        return None
    except (OphclipError, OSError) as error:
        job.is_given_up = job.is_settled = True
        return _failed(Broken(job.item, error, job.file), writer)


def _rows(job: Job, pieces: Iterator[Piece | None], clock: StageClock) -> Iterator[NDArray[Any]]:
    """Yield the rows of one video; what the consumer does in between is writing, the rest is waiting."""
    clock.leave("write")
    for piece in pieces:
        with clock.working("write", job.item.video_id):
            if isinstance(piece, Rows):
                yield piece.rows
            elif isinstance(piece, Broken):
                raise piece.error
            elif isinstance(piece, Again):
                raise _AgainError
        if isinstance(piece, Closed):
            break
    clock.enter("write", job.item.video_id)


def _failed(broken: Broken, writer: Writer) -> Outcome:
    reason = reason_of(broken.error)
    writer.fail(broken.item.video_id, reason, **(asdict(broken.file) if broken.file else {}))
    return Outcome(broken.item.video_id, "failed", reason=reason)
