# SPDX-License-Identifier: Apache-2.0
"""Find damage: everything that a cache holds is read and compared with what was committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from ophclip.cache.check_all import check_all, findings_of
from ophclip.cache.check_journal import check_journal
from ophclip.cache.check_packed import check_packed
from ophclip.cache.check_sample import check_samples
from ophclip.cache.check_store import check_store
from ophclip.cache.check_video import VideoCheck, check_video
from ophclip.cache.content import combine_digests
from ophclip.cache.findings import VerifyReport
from ophclip.cache.journal import Commit
from ophclip.cache.layout import num_bytes
from ophclip.cache.location import Location, ObjectPath
from ophclip.cache.objects import MAX_REQUESTS
from ophclip.cache.packed import PackedCache, is_packed
from ophclip.cache.store import open_cache
from ophclip.errors import DamageError, UsageError, did_you_mean

if TYPE_CHECKING:
    from ophclip.cache.encoder import Encoder


def verify_cache(
    path: Location,
    ids: Sequence[str] = (),
    *,
    sample: float = 0.0,
    encoder: Encoder | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> VerifyReport:
    """Check all videos of a cache, packed or not, or those of `ids`, and its root and journal.

    Every byte is read. `sample` is the share of stored frames, 0 to 1, to decode anew from the video files
    and compare; rows of features need the `encoder` that made them. Safe beside writers.

    Raises:
        UsageError: there is no cache, an id is not in it, or `encoder` is missing or another one.
        DamageError: a packed cache cannot be opened.
    """
    if not 0 <= sample <= 1:
        raise UsageError(f"sample must lie in [0, 1], got {sample}", remedy="pass a share, as 0.01")
    start = time.perf_counter()
    if threads is None and isinstance(path, ObjectPath):
        threads = MAX_REQUESTS
    check = _check_packed if is_sound_packed(path) else _check_unpacked
    report, commits = check(path, ids, threads)
    report.seconds = time.perf_counter() - start
    if sample and commits:
        damaged = set(report.damaged)
        whole = [commit for video_id, commit in commits.items() if video_id not in damaged]
        check_samples(open_cache(path), whole, report, share=sample, encoder=encoder, seed=seed)
    return report


def is_sound_packed(path: Location) -> bool:
    """Return whether `path` is a packed cache whose root can be read."""
    try:
        return is_packed(path)
    except DamageError:
        return False


def _check_packed(
    path: Location, ids: Sequence[str], threads: int | None
) -> tuple[VerifyReport, dict[str, Commit]]:
    cache = cast(PackedCache, open_cache(path))
    report = VerifyReport(remedy=cache.MENDING)
    commits = {video_id: cache.entry(video_id) for video_id in cache}
    commits = _chosen(path, commits, ids)
    checks = check_packed(cache, list(commits), report, threads)
    _hash_content(report, cache.provenance, checks, ids)
    return report, commits


def _check_unpacked(
    path: Location, ids: Sequence[str], threads: int | None
) -> tuple[VerifyReport, dict[str, Commit]]:
    store = check_store(path)
    report = VerifyReport(findings=store.findings, notes=store.notes)
    report.remedy = f"mend it: ophclip cache repair {path}"
    if not store.provenance:
        return report, {}
    dtype = store.provenance["dtype"]
    is_known = not any(finding.kind == "journal" for finding in store.findings)
    commits = _chosen(path, store.commits, ids, is_known)
    check = partial(check_video, path, dtype=dtype)
    jobs = [(num_bytes(commit.shape, dtype), partial(check, commit)) for commit in commits.values()]
    checks = _confirmed(path, commits, check_all(jobs, report, threads), check)
    report.findings += findings_of(checks)
    _hash_content(report, store.provenance, checks, ids)
    return report, commits


def _hash_content(
    report: VerifyReport, provenance: dict[str, object], checks: Sequence[VideoCheck], ids: Sequence[str]
) -> None:
    if not ids and not report.findings:
        report.content_hash = combine_digests(provenance, (checked.content for checked in checks))


def _chosen(
    path: Location, commits: dict[str, Commit], ids: Sequence[str], is_known: bool = True
) -> dict[str, Commit]:
    """Return the commits of `ids`, or all; an id may be missing where the journal itself is damaged."""
    unknown = [video_id for video_id in ids if video_id not in commits]
    if unknown and is_known:
        remedy = did_you_mean(unknown[0], commits) if 0 < len(commits) < 1000 else "see ophclip cache ls"
        raise UsageError(f"{path} holds no video {unknown[0]!r}", remedy=remedy)
    wanted = sorted({*ids} & commits.keys()) if ids else list(commits)
    return {video_id: commits[video_id] for video_id in wanted}


def _confirmed(
    path: Location,
    commits: dict[str, Commit],
    checks: list[VideoCheck],
    check: Callable[[Commit], VideoCheck],
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
