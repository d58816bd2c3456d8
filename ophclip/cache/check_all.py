# SPDX-License-Identifier: Apache-2.0
"""Run the checks of many videos in threads, with the rate at which their rows are read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ophclip import console
from ophclip.cache.check_video import VideoCheck
from ophclip.cache.findings import Finding, VerifyReport

MAX_THREADS = 8  # hashing frees the interpreter's lock; more would only queue at the disk

Job = tuple[int, Callable[[], VideoCheck]]  # the bytes of a video's rows, and its check


def check_all(jobs: Sequence[Job], report: VerifyReport, threads: int | None) -> list[VideoCheck]:
    """Run all checks; the report counts videos and bytes. The results come in the order of the jobs."""
    checks, start = [], time.perf_counter()
    workers = ThreadPoolExecutor(threads or min(MAX_THREADS, os.cpu_count() or 1))
    with workers, console.progress("verify", len(jobs), "videos") as progress:
        for (size, _), checked in zip(jobs, workers.map(lambda job: job[1](), jobs), strict=True):
            report.videos += 1
            report.num_bytes += size
            rate = report.num_bytes / max(time.perf_counter() - start, 1e-9)
            progress.note(f"{rate / 1e6:,.0f} MB/s")
            progress.advance()
            checks.append(checked)
    return checks


def findings_of(checks: Sequence[VideoCheck]) -> Iterator[Finding]:
    """Yield all findings; rows that are another video's are named so."""
    owners = {checked.declared_sha256: checked.video_id for checked in checks if checked.declared_sha256}
    for checked in checks:
        owner = owners.get(checked.data_sha256, checked.video_id)
        for finding in checked.findings:
            if finding.kind == "rows" and checked.data_sha256 and owner != checked.video_id:
                yield replace(finding, what=f"{finding.what}, but those of {owner!r}")
            else:
                yield finding
