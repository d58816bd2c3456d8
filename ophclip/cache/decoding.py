# SPDX-License-Identifier: Apache-2.0
"""The second stage of a build: the planned frames of jobs, short videos of one kind in one go of the decoder.

A go ends with the first file that breaks it. What has not come through by then is decoded again, one by one,
so that only the broken file fails.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from ophclip.cache.clock import StageClock
from ophclip.cache.pieces import Again, Broken, Closed, Frames, Job, Opened, Piece, Skipped
from ophclip.cache.reading import media_errors
from ophclip.errors import OphclipError, UsageError
from ophclip.video import FrameSource, VideoInfo
from ophclip.video.decode import DaliElsePyav, DaliRefusedError

MAX_TOGETHER = 8  # videos in one go: a pipeline's memory grows with the number of its files
MAX_ROWS_TOGETHER = 1024  # past which the start of a pipeline is little beside its work

Probed = Job | Skipped | Broken


def grouped(
    jobs: Iterator[Probed | None], group_of: Callable[[VideoInfo], Hashable | None]
) -> Iterator[list[Job] | Skipped | Broken]:
    """Gather jobs of one group that follow each other; None, which says that none comes for now, ends one."""
    together: list[Job] = []
    group: Hashable | None = None
    for job in jobs:
        if isinstance(job, Skipped | Broken):
            yield job
            continue
        its_group = group_of(job.info) if job is not None else None
        if together and (its_group is None or its_group != group):
            yield together
            together = []
        if job is None:
            continue
        together.append(job)
        group = its_group
        num_rows = sum(len(each.plan) for each in together)
        if group is None or len(together) == MAX_TOGETHER or num_rows >= MAX_ROWS_TOGETHER:
            yield together
            together = []
    if together:
        yield together


class Decoding:
    """Makes pieces of jobs with a source of its own; several of them may share the groups."""

    def __init__(self, source: FrameSource, clock: StageClock) -> None:
        self._source, self._clock = source, clock

    def pieces(self, groups: Iterator[list[Job] | Skipped | Broken]) -> Iterator[Piece]:
        """Decode the planned frames of all jobs; what is none passes through."""
        for group in groups:
            if not isinstance(group, list):
                yield group
                continue
            left = list(group)
            if len(left) > 1:
                yield from self._together(left)
            for job in left:
                yield from self._alone(job)

    def _together(self, left: list[Job]) -> Iterator[Piece]:
        """Decode jobs in one go, and take those off the list that are done with."""
        jobs, is_open = list(left), False
        try:
            batches = self._source.read_together([(job.info, job.plan) for job in jobs])
            while left:
                with self._at_work(*left):
                    got = next(batches, None)
                if is_open and (got is None or jobs[got[0]] is not left[0]):
                    yield self._closed(left.pop(0))
                    is_open = False
                if got is None:
                    return
                if not is_open:
                    yield Opened(left[0], self._source.used)
                    is_open = True
                if not left[0].is_given_up:
                    yield Frames(left[0], got[1])
        except UsageError:
            raise
        except (OphclipError, OSError):
            if is_open:
                yield Again(left[0])

    def _alone(self, job: Job) -> Iterator[Piece]:
        for is_last_try in (False, True):
            try:
                yield from self._frames(job)
            except UsageError:
                raise
            except (OphclipError, OSError) as error:
                if isinstance(error, DaliRefusedError) and not is_last_try and self._has_another_decoder():
                    yield Again(job)
                    continue
                yield Broken(job.item, error, job.file, job)
            return

    def _has_another_decoder(self) -> bool:
        return isinstance(self._source, DaliElsePyav)

    def _frames(self, job: Job) -> Iterator[Piece]:
        with self._at_work(job):
            batches = self._source.read(job.info, job.plan)
            frames = next(batches, None)
        # Only now it is known which decoder it is, which is stored beside the rows.
        yield Opened(job, self._source.used)
        while frames is not None and not job.is_given_up:
            yield Frames(job, frames)
            with self._at_work(job):
                frames = next(batches, None)
        yield self._closed(job)

    def _closed(self, job: Job) -> Closed | Broken:
        """End a video, whose file must not have changed meanwhile."""
        try:
            job.file.check_unchanged(job.item.path)
        except (OphclipError, OSError) as error:
            return Broken(job.item, error, job.file, job)
        return Closed(job)

    @contextmanager
    def _at_work(self, *jobs: Job) -> Iterator[None]:
        names = (job.item.video_id for job in jobs)
        with self._clock.working("decode", *names), media_errors(jobs[0].item.path):
            yield
