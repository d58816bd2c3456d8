# SPDX-License-Identifier: Apache-2.0
"""The first stage of a build: probe a video and plan its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from ophclip.cache.clock import StageClock, default_deadline_s
from ophclip.cache.inputs import CacheInput
from ophclip.cache.location import sha256_of
from ophclip.cache.pieces import Broken, Job, Skipped
from ophclip.cache.source_file import SourceFile, is_current
from ophclip.cache.writer import Writer
from ophclip.errors import OphclipError, UsageError
from ophclip.video import plan_sampling, probe

OnPlan = Callable[[str, float], None]


class Prober:
    """Makes jobs of inputs.

    `on_plan(video_id, seconds)` says, once a video has been probed, how long it may take.
    """

    def __init__(self, fps: float | Fraction, writer: Writer, clock: StageClock, on_plan: OnPlan) -> None:
        self._fps, self._writer, self._clock, self._on_plan = fps, writer, clock, on_plan

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

    def _job(self, item: CacheInput, file: SourceFile) -> Job:
        with media_errors(item.path):
            info = probe(item.path)
            plan = plan_sampling(info, self._fps)
        self._on_plan(item.video_id, default_deadline_s(file.source_size, len(info.pts), len(plan)))
        return Job(item, file, sha256_of(item.path), info, plan)


@contextmanager
def media_errors(path: Path) -> Iterator[None]:
    """Turn whatever a hostile file provokes in FFmpeg or DALI into an error that ends that video alone."""
    try:
        yield
    except OphclipError:
        raise
    except Exception as error:
        raise OphclipError(
            f"{path}: decoding failed: {type(error).__name__}: {error}", remedy="leave this file out"
        ) from error
