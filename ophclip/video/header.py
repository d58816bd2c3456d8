# SPDX-License-Identifier: Apache-2.0
"""What a video file says of itself without being read through: its suffix, and the length in its header."""

from __future__ import annotations

from pathlib import Path

from ophclip.errors import OphclipError
from ophclip.video.complete import check_complete
from ophclip.video.probe import best_stream, open_container

_CONTAINERS = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv"
SUFFIXES = frozenset(f".{name}" for name in _CONTAINERS.split())


def stated_duration_s(path: Path) -> float:
    """Return the length of a video in seconds as its header states it, in a millisecond and not to the frame.

    Raises:
        OphclipError: the file is missing, unreadable, truncated, no video, or states no length.
    """
    try:
        if path.stat().st_size == 0:
            raise OphclipError(f"{path}: the file is empty", remedy="fetch it again")
        check_complete(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OphclipError(f"{path}: cannot be read: {reason}", remedy="check its permissions") from error
    with open_container(path) as container:
        stream = best_stream(container, path)
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if container.duration:
            return float(container.duration / 1_000_000)
    raise OphclipError(f"{path}: its header states no duration", remedy="remux it to MP4 or Matroska")
