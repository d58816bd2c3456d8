# SPDX-License-Identifier: Apache-2.0
"""Check a packed cache: the rows, times and metadata of each video, then what holds them together."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from ophclip.cache.check_all import check_all, findings_of
from ophclip.cache.check_tables import check_shards, check_tables
from ophclip.cache.check_video import VideoCheck, wrong_times
from ophclip.cache.content import video_digest
from ophclip.cache.findings import VerifyReport
from ophclip.cache.layout import array_metadata
from ophclip.cache.pack import blocks
from ophclip.cache.packtables import to_json
from ophclip.errors import DamageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ophclip.cache.packed import PackedCache

COLUMNS = ("pts", "frame_times_s")  # which are arrays of their own


def check_packed(
    cache: PackedCache, ids: Sequence[str], report: VerifyReport, threads: int | None
) -> list[VideoCheck]:
    """Check the videos `ids` of a packed cache, its shards and, if those are all, its tables.

    Findings go to the report.
    """
    jobs = [
        (cache.num_frames(video_id) * cache.row_bytes, partial(_check_video, cache, video_id))
        for video_id in ids
    ]
    checks = check_all(jobs, report, threads)
    report.findings += findings_of(checks)
    report.findings += check_shards(cache)
    if len(checks) == len(cache) and not any(check.findings for check in checks):
        report.findings += check_tables(cache, checks)
    return checks


def _check_video(cache: PackedCache, video_id: str) -> VideoCheck:
    check = VideoCheck(video_id)
    times_s: list[float] = []
    try:
        times_s = _check_attributes(cache, video_id, check)
    except DamageError as error:
        check.found("metadata", error.message)
    try:
        checksum = hashlib.sha256()
        for rows in blocks(cache, video_id):
            checksum.update(rows.reshape(-1).view("u1").data)
        check.data_sha256 = checksum.hexdigest()
        if check.declared_sha256 and check.data_sha256 != check.declared_sha256:
            check.found("rows", f"{cache.path}: the rows are not those that were committed")
    except DamageError as error:
        check.found("rows", error.message)
    if not check.findings:
        check.content = video_digest(video_id, check.data_sha256, times_s)
    return check


def _check_attributes(cache: PackedCache, video_id: str, check: VideoCheck) -> list[float]:
    attributes, commit = cache.attributes(video_id), cache.entry(video_id)
    check.declared_sha256 = str(attributes.get("data_sha256", ""))
    check.text = to_json({key: value for key, value in attributes.items() if key not in COLUMNS})
    wrong = wrong_times(attributes, commit.shape[0])
    if wrong:
        check.found("times", f"{cache.path}: {wrong}")
    elif commit.metadata_sha256:
        # The very bytes that lay beside the rows before they were packed.
        text = array_metadata(commit.shape, cache.provenance["dtype"], attributes)  # type: ignore[arg-type]
        if hashlib.sha256(text).hexdigest() != commit.metadata_sha256:
            check.found("metadata", f"{cache.path}: not the metadata that was committed")
    return list(attributes["frame_times_s"])
