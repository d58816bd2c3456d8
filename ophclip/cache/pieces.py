# SPDX-License-Identifier: Apache-2.0
"""What passes between the stages of a build, in order: the pieces of one video follow each other.

A failure is a piece too, so that the videos around it go their way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ophclip.cache.inputs import CacheInput, as_text
from ophclip.cache.layout import VideoAttributes
from ophclip.cache.source_file import SourceFile
from ophclip.errors import OphclipError
from ophclip.video import SamplingPlan, VideoInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ophclip.video.frames import Pixels


@dataclass(eq=False)
class Job:
    """A video that was probed and is to be decoded.

    `is_given_up` tells the stages ahead to stop; nothing more is said of it once it `is_settled`.
    """

    item: CacheInput
    file: SourceFile
    sha256: str
    info: VideoInfo
    plan: SamplingPlan
    is_given_up: bool = False
    is_settled: bool = False


@dataclass(frozen=True, eq=False)
class Skipped:
    """The video is stored already."""

    item: CacheInput


@dataclass(frozen=True, eq=False)
class Broken:
    """The video cannot be stored; ends what came of it."""

    item: CacheInput
    error: OphclipError | OSError
    file: SourceFile | None
    job: Job | None = None


@dataclass(frozen=True, eq=False)
class Opened:
    """The first frames of a video follow; `decoder` made them."""

    job: Job
    decoder: str

    def attributes(self) -> VideoAttributes:
        """Return what is stored beside the rows."""
        job = self.job
        return {
            "video_id": job.item.video_id,
            "source_name": as_text(job.item.path.name),
            "source_size": job.file.source_size,
            "source_sha256": job.sha256,
            "data_sha256": "",  # known once the rows are written
            "decoder": self.decoder,
            "time_base": str(job.info.time_base),
            "start": str(job.info.start),
            "pts": job.plan.pts.tolist(),
            "frame_times_s": job.plan.frame_times_s.tolist(),
        }


@dataclass(frozen=True, eq=False)
class Frames:
    """Some frames of a video, `[n, ...]`, in the form that its decoder gave them."""

    job: Job
    frames: Pixels


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a video, `[n, *row_shape]`."""

    job: Job
    rows: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Closed:
    """The video is complete."""

    job: Job


@dataclass(frozen=True, eq=False)
class Again:
    """What came of the video is void: it comes anew, from another decoder."""

    job: Job


Piece = Skipped | Broken | Opened | Frames | Rows | Closed | Again
