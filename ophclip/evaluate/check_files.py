# SPDX-License-Identifier: Apache-2.0
"""Whether the video or the pictures of a recording are there and whole, and as long as their labels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from ophclip.errors import OphclipError
from ophclip.evaluate.datasets.reading import Findings, Recording
from ophclip.video import VideoInfo, probe

TOLERANCE_S = Fraction(1)  # containers round their durations, and annotators mark the last frame as an end
RATE_TOLERANCE = 0.01
PICTURE_ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9"}


def check_file(recording: Recording, findings: Findings) -> None:
    """Add what is wrong with the files of a recording."""
    if recording.pictures:
        for picture in recording.pictures:
            _check_picture(picture, findings)
        return
    path = recording.path
    if not path.is_file():
        said = f"the video {path} is missing"
        findings.error("missing-file", said, recording.labels_file, recording.line)
    elif path.stat().st_size == 0:
        findings.error("empty-file", "the video is empty", path)
    else:
        _check_video(recording, findings)


def _check_video(recording: Recording, findings: Findings) -> None:
    try:
        info = probe(recording.path)
    except OphclipError as error:
        kind = "truncated" if "truncated" in error.message else "unreadable"
        findings.error(kind, error.message.removeprefix(f"{recording.path}: "), recording.path)
        return
    if recording.rate is not None and abs(info.fps / float(recording.rate) - 1) > RATE_TOLERANCE:
        findings.warning(
            "rate",
            f"the video has {info.fps:.3g} frames a second, its labels count {float(recording.rate):.3g}",
            recording.path,
        )
    _check_length(recording, info, findings)


def _check_length(recording: Recording, info: VideoInfo, findings: Findings) -> None:
    lasts = info.end_pts * info.time_base - info.start
    for span in recording.spans:
        end = span.start if span.end is None else span.end
        if end > lasts + TOLERANCE_S:
            findings.error(
                "past-end",
                f"{recording.video_id}: the label ends at {float(end):g} s, the video at {float(lasts):g} s",
                recording.labels_file,
                span.line,
            )
    if recording.length is not None and recording.length > lasts + TOLERANCE_S:
        findings.error(
            "past-end",
            f"{recording.video_id}: labels of {float(recording.length):g} s, a video of {float(lasts):g} s",
            recording.labels_file,
            recording.line,
        )


def _check_picture(path: Path, findings: Findings) -> None:
    if not path.is_file():
        return  # said where the picture is spoken of
    end = PICTURE_ENDS.get(path.suffix.lower(), b"")
    size = path.stat().st_size
    if size == 0:
        findings.error("empty-file", "the picture is empty", path)
    elif end:
        with path.open("rb") as file:
            file.seek(max(0, size - 64))
            if end not in file.read():  # some writers pad
                findings.error("truncated", "the picture is cut short", path)
