# SPDX-License-Identifier: Apache-2.0
"""Check one committed video: that its rows, its times and its metadata are what was committed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from ophclip.cache.content import video_digest
from ophclip.cache.findings import Finding, Kind
from ophclip.cache.journal import Commit
from ophclip.cache.layout import METADATA, VIDEOS, array_metadata, chunk_name, num_bytes
from ophclip.cache.location import Location, sha256_of, size_of

TIME_KEYS = ("pts", "frame_times_s", "time_base", "start")


@dataclass
class VideoCheck:
    """The findings on one video, the checksum its metadata names and the one its rows have; "" if unknown."""

    video_id: str
    findings: list[Finding] = field(default_factory=list)
    declared_sha256: str = ""
    data_sha256: str = ""
    content: bytes = b""  # what it adds to the content hash, where nothing is wrong
    text: bytes = b""  # its attributes in a packed cache, as they were read

    def found(self, kind: Kind, what: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(self.video_id, kind, what))


def check_video(cache: Location, commit: Commit, dtype: str) -> VideoCheck:
    """Read all of one video and compare it with its journal line; nothing is mapped, so no fault kills."""
    check = VideoCheck(commit.video_id)
    folder = cache / VIDEOS / commit.folder
    attributes = _check_metadata(folder / METADATA, commit, dtype, check)
    check.declared_sha256 = str(attributes.get("data_sha256", ""))
    _check_rows(folder / chunk_name(len(commit.shape)), commit, dtype, check)
    if not check.findings:
        check.content = video_digest(commit.video_id, check.data_sha256, attributes["frame_times_s"])
    return check


def _check_rows(path: Location, commit: Commit, dtype: str, check: VideoCheck) -> None:
    expected = num_bytes(commit.shape, dtype)
    try:
        size = size_of(path)
        if size != expected:
            check.found("rows", f"{path} has {size:,} bytes, {expected:,} were committed")
            return
        check.data_sha256 = sha256_of(path)
    except OSError as error:
        check.found("rows", f"{path}: {error.strerror or error}")
        return
    if check.declared_sha256 and check.data_sha256 != check.declared_sha256:
        check.found("rows", f"{path}: the rows are not those that were committed")


def _check_metadata(path: Location, commit: Commit, dtype: str, check: VideoCheck) -> dict[str, Any]:
    """Return the attributes where they can be read at all; what is wrong with them is found."""
    try:
        text = path.read_bytes()
        document = json.loads(text)
        attributes = dict(document["attributes"])
    except OSError as error:
        check.found("metadata", f"{path}: {error.strerror or error}")
        return {}
    except (ValueError, KeyError, TypeError) as error:
        check.found("metadata", f"{path}: not the metadata of a video: {error}")
        return {}
    wrong = _wrong_facts(document, attributes, commit, dtype)
    times = "" if wrong else wrong_times(attributes, commit.shape[0])
    if wrong:
        check.found("metadata", f"{path}: {wrong}")
    elif times:
        check.found("times", f"{path}: {times}")
    elif commit.metadata_sha256 and hashlib.sha256(text).hexdigest() != commit.metadata_sha256:
        check.found("metadata", f"{path}: not the bytes that were committed")
    return attributes


def _wrong_facts(document: dict[str, Any], attributes: dict[str, Any], commit: Commit, dtype: str) -> str:
    committed = {
        "video_id": commit.video_id,
        "source_size": commit.source_size,
        "source_sha256": commit.source_sha256,
    }
    for key, value in committed.items():
        if attributes.get(key) != value:
            return f"{key} must be {value!r}, got {attributes.get(key)!r}"
    expected = json.loads(array_metadata(commit.shape, dtype, {}))  # type: ignore[typeddict-item]
    for key in sorted(expected.keys() - {"attributes"}):
        if document.get(key) != expected[key]:
            return f"{key} must be {expected[key]!r}, got {document.get(key)!r}"
    missing = [key for key in (*TIME_KEYS, "data_sha256", "source_name", "decoder") if key not in attributes]
    return f"{', '.join(missing)} missing" if missing else ""


def wrong_times(attributes: dict[str, Any], num_rows: int) -> str:
    """Return how the times in the attributes of a video contradict each other; "" where they do not."""
    try:
        pts = np.asarray(attributes["pts"], dtype=np.int64)
        times_s = np.asarray(attributes["frame_times_s"], dtype=np.float64)
        time_base, start = Fraction(attributes["time_base"]), Fraction(attributes["start"])
        first = float(start / time_base)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
        return f"its times cannot be read: {error}"
    if pts.shape != (num_rows,) or times_s.shape != (num_rows,):
        return f"{num_rows} rows, but {pts.size} pts and {times_s.size} frame times"
    if not np.array_equal((pts - first) * float(time_base), times_s):
        row = int(np.argmax((pts - first) * float(time_base) != times_s))
        return f"the time of row {row}, {times_s[row]} s, is not that of its pts {pts[row]}"
    if (np.diff(pts) < 0).any():
        return f"row {int(np.argmax(np.diff(pts) < 0)) + 1} is earlier than the one before it"
    return ""
