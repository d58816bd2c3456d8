# SPDX-License-Identifier: Apache-2.0
"""Mend a cache: extract anew the videos that are damaged, and leave all others untouched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ophclip.cache.build import build_cache
from ophclip.cache.check_journal import check_journal
from ophclip.cache.check_sample import recorded_encoder
from ophclip.cache.findings import Finding, VerifyReport
from ophclip.cache.inputs import CacheInput
from ophclip.cache.journal import Commit, read_commits
from ophclip.cache.layout import METADATA, VIDEOS, chunk_path, group_metadata, read_root
from ophclip.cache.location import Location, ObjectPath
from ophclip.cache.packed import PackedCache
from ophclip.cache.remote_commit import RemoteWriter
from ophclip.cache.remote_folders import remove_old_folders
from ophclip.cache.repair_journal import adopt_folders, drop_unsound_lines
from ophclip.cache.source_file import source_state
from ophclip.cache.todo import Retry
from ophclip.cache.verify import is_sound_packed, verify_cache
from ophclip.errors import UsageError
from ophclip.files import replace_file

if TYPE_CHECKING:
    from ophclip.cache.encoder import Encoder
    from ophclip.video import Decoder

DECODERS: dict[str, Decoder] = {"pyav": "pyav", "dali": "dali", "dali, else pyav": "auto"}
GROUP = f"{VIDEOS}/{METADATA}"


@dataclass
class RepairReport:
    """What a repair did.

    `repaired` are byte for byte as they were committed; `differing` are right, but of another version of the
    decoder, so that their bytes are not; `failed` are still damaged, with the reason.
    """

    repaired: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)  # whole videos whose journal line was lost
    mended: list[str] = field(default_factory=list)  # files of the cache that belong to no video
    removed: list[str] = field(default_factory=list)  # folders of an object store that nobody needs
    failed: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        return asdict(self)


def repair_cache(
    path: Location,
    ids: Sequence[str] = (),
    *,
    encoder: Callable[[], Encoder | None] = lambda: None,
    device: str = "cpu",
    batch_size: int | None = None,
    workers: int = 0,
    make_encoder: Callable[[str], Encoder | None] | None = None,
    devices: Sequence[str] = (),
) -> RepairReport:
    """Verify a cache, or its videos `ids`, and mend what is damaged; interrupted, it goes on when run again.

    Rows come from the video files that the journal names, if those are unchanged. `encoder` gives what made
    the rows, and is called where rows must be made; a cache of frames needs none. Damaged journal lines are
    dropped, with a copy of their file kept, and whole videos whose line was lost are entered anew; not so in
    an object store, where lines are only read, and where folders that nobody needs any more are removed.
    `batch_size`, `workers`, `make_encoder` and `devices` are those of `build_cache`.

    Raises:
        UsageError: there is no cache, an id is not in it, or `encoder` is missing or another one.
        StorageError: the cache cannot be written.
    """
    if is_sound_packed(path):
        raise UsageError(f"{path} is a packed cache, which is only read", remedy=PackedCache.MENDING)
    found = verify_cache(path, ids)
    report = RepairReport()
    _mend_store(path, found, report)
    root = [finding for finding in found.findings if finding.item == METADATA]
    report.failed |= {finding.item: finding.what for finding in root}
    wanted = {} if root else _to_extract(path, ids, found, report)
    if wanted:
        given = encoder()
        maker = recorded_encoder(read_root(path), given, path)
        _withdraw(path, wanted, found)
        how = {"device": device, "batch_size": batch_size, "workers": workers, "devices": devices}
        _extract(path, wanted, report, maker, **how, make_encoder=None if given is None else make_encoder)
    if isinstance(path, ObjectPath) and not found.findings:
        report.removed += remove_old_folders(path)
    return report


def _mend_store(path: Location, found: VerifyReport, report: RepairReport) -> None:
    items = {finding.item for finding in found.findings if not finding.is_of_a_video}
    if isinstance(path, ObjectPath):
        what = "not mended in an object store: restore an earlier version of the object, or build anew"
        report.failed |= dict.fromkeys(items - {METADATA}, what)
        return
    if GROUP in items:
        replace_file(path / GROUP, group_metadata({}))
        report.mended.append(GROUP)
    is_readable = METADATA not in items
    if is_readable and any(finding.kind == "journal" for finding in found.findings):
        drop_unsound_lines(path, report.mended, report.failed)
        report.adopted += adopt_folders(path, read_root(path)["dtype"])


def _to_extract(
    path: Location, ids: Sequence[str], found: VerifyReport, report: RepairReport
) -> dict[str, Commit]:
    """Return what can be extracted anew: damaged videos, and those that a writer died replacing."""
    journal = check_journal(path)
    wanted = {
        video_id: commit
        for video_id, commit in journal.commits.items()
        if video_id in found.damaged and _has_its_source(commit, report)
    }
    unfinished = {
        video_id: commit
        for video_id, commit in journal.revoked.items()
        if source_state(commit) == "same" and (not ids or video_id in ids)
    }
    return wanted | unfinished


def _extract(
    path: Location,
    wanted: dict[str, Commit],
    report: RepairReport,
    encoder: Encoder,
    **how: Any,
) -> None:
    provenance = read_root(path)
    built = build_cache(
        [CacheInput(video_id, Path(commit.source_path)) for video_id, commit in wanted.items()],
        path,
        encoder=encoder,
        fps=provenance["fps"],
        decoder=DECODERS.get(provenance["decoder"], "auto"),
        retry=Retry(""),  # also what failed in an earlier repair
        **how,
    )
    report.failed |= built.failed
    now = read_commits(path)
    for video_id in built.committed:
        is_equal = now[video_id].metadata_sha256 == wanted[video_id].metadata_sha256
        (report.repaired if is_equal else report.differing).append(video_id)


def _has_its_source(commit: Commit, report: RepairReport) -> bool:
    state = source_state(commit)
    if state == "gone":
        report.failed[commit.video_id] = f"its video file {commit.source_path} is gone: put it back"
    elif state == "changed":
        what = f"its video file {commit.source_path} has changed: cache build stores it anew"
        report.failed[commit.video_id] = what
    return state == "same"


def _withdraw(path: Location, wanted: dict[str, Commit], found: VerifyReport) -> None:
    """Let a build take the videos for not stored, and readers for damaged or gone."""
    if isinstance(path, ObjectPath):
        with RemoteWriter(path, read_root(path)) as writer:
            for video_id in wanted.keys() & writer.commits.keys():
                writer.revoke(video_id)
        return
    for finding in found.findings:
        if finding.item in wanted:
            _remove(path, wanted[finding.item], finding)


def _remove(path: Path, commit: Commit, finding: Finding) -> None:
    folder = path / VIDEOS / commit.folder
    damaged = chunk_path(folder, len(commit.shape)) if finding.kind == "rows" else folder / METADATA
    if damaged.is_dir():
        shutil.rmtree(damaged)
    damaged.unlink(missing_ok=True)
