# SPDX-License-Identifier: Apache-2.0
"""The first two stages of a build: probe a video and plan its frames, then decode them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ophclip.cache.clock import StageClock, default_deadline_s
from ophclip.cache.inputs import CacheInput
from ophclip.cache.location import sha256_of
from ophclip.cache.pieces import Again, Broken, Closed, Frames, Job, Opened, Piece, Skipped
from ophclip.cache.source_file import SourceFile, is_current
from ophclip.cache.writer import Writer
from ophclip.errors import OphclipError, UsageError
from ophclip.video import FrameSource, plan_sampling, probe
from ophclip.video.decode import DaliElsePyav, DaliRefusedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OnPlan = Callable[[str, float], None]


class Reader:
    """Makes jobs of inputs, and pieces of jobs.

    `on_plan(video_id, seconds)` says, once a video has been probed, how long it may take.
    """

    def __init__(
        self,
        source: FrameSource,
        fps: float | Fraction,
        writer: Writer,
        clock: StageClock,
        on_plan: OnPlan,
    ) -> None:
        self._source, self._fps, self._writer = source, fps, writer
        self._clock, self._on_plan = clock, on_plan

    def probed(self, item: CacheInput) -> Job | Skipped | Broken:
        """Probe one video, unless it is stored already."""
        file = None
        try:
            with self._clock.working("probe", item.video_id):
                file = SourceFile.of(item.path)
                return Skipped(item) if is_current(item, self._writer) else self._job(item, file)
        except UsageError:
            raise
        except (OphclipError, OSError) as error:
            return Broken(item, error, file)

    def decoded(self, jobs: Iterator[Job | Skipped | Broken | None]) -> Iterator[Piece]:
        """Decode the planned frames of the jobs; what is none passes through."""
        for job in jobs:
            if isinstance(job, Job):
                yield from self._pieces(job)
            elif job is not None:
                yield job

    def _job(self, item: CacheInput, file: SourceFile) -> Job:
        with _media_errors(item.path):
            info = probe(item.path)
            plan = plan_sampling(info, self._fps)
        self._on_plan(item.video_id, default_deadline_s(file.source_size, len(info.pts), len(plan)))
        return Job(item, file, sha256_of(item.path), info, plan)

    def _pieces(self, job: Job) -> Iterator[Piece]:
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
            frames: NDArray[np.uint8] | None = next(batches)
        # Only now it is known which decoder it is, which is stored beside the rows.
        yield Opened(job, self._source.used)
        while frames is not None and not job.is_given_up:
            yield Frames(job, frames)
            with self._at_work(job):
                frames = next(batches, None)
        job.file.check_unchanged(job.item.path)
        yield Closed(job)

    @contextmanager
    def _at_work(self, job: Job) -> Iterator[None]:
        with self._clock.working("decode", job.item.video_id), _media_errors(job.item.path):
            yield


@contextmanager
def _media_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OphclipError:
        raise
    except Exception as error:  # whatever a hostile file provokes in FFmpeg or DALI ends that video alone
        raise OphclipError(
            f"{path}: decoding failed: {type(error).__name__}: {error}", remedy="leave this file out"
        ) from error
