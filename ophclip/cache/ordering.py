# SPDX-License-Identifier: Apache-2.0
"""Videos that are decoded side by side, one after another again, as the writer wants them."""

from __future__ import annotations

from collections.abc import Iterator

from ophclip.cache.pieces import Again, Broken, Closed, Job, Piece, Rows, Skipped


def one_by_one(pieces: Iterator[Piece | None]) -> Iterator[Piece]:
    """Hold the pieces of each video until its last one, then let them through, whatever came in between.

    So a long video keeps no short one waiting, and what is held are the rows of the videos that are being
    decoded.
    """
    held: dict[Job, list[Piece]] = {}
    for piece in pieces:
        if piece is None:
            continue
        job = None if isinstance(piece, Skipped) else piece.job
        if job is None:
            yield piece
        elif isinstance(piece, Again):
            held.pop(job, None)
        else:
            # A view would hold the rows of a whole batch.
            kept = Rows(job, piece.rows.copy()) if isinstance(piece, Rows) else piece
            held.setdefault(job, []).append(kept)
            if isinstance(piece, Closed | Broken):
                yield from held.pop(job)
