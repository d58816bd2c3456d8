# SPDX-License-Identifier: Apache-2.0
"""Find damage: everything that a cache holds is read and compared with what was committed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ophclip import console
from ophclip.cache.check_journal import check_journal
from ophclip.cache.check_sample import check_samples
from ophclip.cache.check_store import StoreCheck, check_store
from ophclip.cache.check_video import VideoCheck, check_video
from ophclip.cache.content import combine_digests
from ophclip.cache.findings import Finding, VerifyReport
from ophclip.cache.journal import Commit
from ophclip.cache.layout import num_bytes
from ophclip.cache.store import FeatureCache
from ophclip.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from ophclip.cache.encoder import Encoder

MAX_THREADS = 8  # hashing frees the interpreter's lock; more would only queue at the disk


def verify_cache(
    path: Path,
    ids: Sequence[str] = (),
    *,
    sample: float = 0.0,
    encoder: Encoder | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> VerifyReport:
    """Check all videos of a local cache, or those of `ids`, and its root and journal.

    Every byte is read. `sample` is the share of stored frames, 0 to 1, to decode anew from the video files
    and compare; rows of features need the `encoder` that made them. Safe beside writers.

    Raises:
        UsageError: there is no cache, an id is not in it, or `encoder` is missing or another one.
    """
    if not 0 <= sample <= 1:
        raise UsageError(f"sample must lie in [0, 1], got {sample}", remedy="pass a share, as 0.01")
    start = time.perf_counter()
    store = check_store(path)
    report = VerifyReport(findings=store.findings, notes=store.notes)
    if not store.provenance:
        return report
    commits = _chosen(path, store, ids)
    checks = _check_videos(path, commits, store.provenance["dtype"], report, threads)
    report.findings += _findings(checks)
    report.seconds = time.perf_counter() - start
    if not ids and not report.findings:
        report.content_hash = combine_digests(store.provenance, (checked.content for checked in checks))
    if sample:
        damaged = set(report.damaged)
        whole = [commit for video_id, commit in commits.items() if video_id not in damaged]
        check_samples(FeatureCache(path), whole, report, share=sample, encoder=encoder, seed=seed)
    return report


def _chosen(path: Path, store: StoreCheck, ids: Sequence[str]) -> dict[str, Commit]:
    unknown = [video_id for video_id in ids if video_id not in store.commits]
    if unknown and not any(finding.kind == "journal" for finding in store.findings):
        few = 0 < len(store.commits) < 1000
        remedy = did_you_mean(unknown[0], store.commits) if few else "see ophclip cache ls"
        raise UsageError(f"{path} holds no video {unknown[0]!r}", remedy=remedy)
    return {video_id: store.commits[video_id] for video_id in sorted(set(ids) - {*unknown}) or store.commits}


def _check_videos(
    path: Path, commits: dict[str, Commit], dtype: str, report: VerifyReport, threads: int | None
) -> list[VideoCheck]:
    def check(commit: Commit) -> VideoCheck:
        return check_video(path, commit, dtype)

    checks, start = [], time.perf_counter()
    workers = ThreadPoolExecutor(threads or min(MAX_THREADS, os.cpu_count() or 1))
    with workers, console.progress("verify", len(commits), "videos") as progress:
        for commit, checked in zip(commits.values(), workers.map(check, commits.values()), strict=True):
            report.videos += 1
            report.num_bytes += num_bytes(commit.shape, dtype)
            rate = report.num_bytes / max(time.perf_counter() - start, 1e-9)
            progress.note(f"{rate / 1e6:,.0f} MB/s")
            progress.advance()
            checks.append(checked)
    return _confirmed(path, commits, checks, check)


def _confirmed(
    path: Path, commits: dict[str, Commit], checks: list[VideoCheck], check: Callable[[Commit], VideoCheck]
) -> list[VideoCheck]:
    """Look at damaged videos again: another writer may have been replacing them, which is no damage."""
    settled = {checked.video_id: checked for checked in checks}
    doubtful = {video_id: commits[video_id] for video_id, found in settled.items() if found.findings}
    while doubtful:
        now = check_journal(path).commits
        for video_id, commit in list(doubtful.items()):
            settled.pop(video_id)
            doubtful.pop(video_id)
            if video_id in now:  # else it is being replaced
                settled[video_id] = check(now[video_id])
                if settled[video_id].findings and now[video_id] != commit:
                    doubtful[video_id] = now[video_id]
    return [settled[video_id] for video_id in sorted(settled)]


def _findings(checks: Sequence[VideoCheck]) -> Iterator[Finding]:
    """Yield all findings; rows that are another video's are named so."""
    owners = {checked.declared_sha256: checked.video_id for checked in checks if checked.declared_sha256}
    for checked in checks:
        owner = owners.get(checked.data_sha256, checked.video_id)
        for finding in checked.findings:
            if finding.kind == "rows" and checked.data_sha256 and owner != checked.video_id:
                yield replace(finding, what=f"{finding.what}, but those of {owner!r}")
            else:
                yield finding
