# SPDX-License-Identifier: Apache-2.0
"""Check what a cache holds beside its videos: its root, its journal, and folders that no line speaks of."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ophclip.cache.check_journal import check_journal
from ophclip.cache.findings import Finding
from ophclip.cache.journal import COMMITS, Commit
from ophclip.cache.layout import (
    FORMAT_VERSION,
    JOURNAL,
    METADATA,
    TEMPORARY_PREFIX,
    VIDEOS,
    group_metadata,
    read_metadata,
    read_root,
)
from ophclip.cache.location import Location, ObjectPath
from ophclip.cache.remote_folders import remote_folders
from ophclip.cache.root import digest
from ophclip.errors import DamageError, UsageError

ROOT_KEYS = frozenset({"format_version", "provenance", "sha256"})
CONSOLIDATED = "consolidated_metadata"  # Zarr's own index of a group, which a user may have added


@dataclass
class StoreCheck:
    """What the journal says, as far as it can be read, and what is wrong beside the videos."""

    provenance: dict[str, Any] = field(default_factory=dict)  # empty: the root cannot be read
    commits: dict[str, Commit] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_store(path: Location) -> StoreCheck:
    """Check the root, the group of videos and every journal line.

    Raises:
        UsageError: there is no cache, or one of a newer format.
    """
    check = StoreCheck()
    check.provenance = _check_root(path, check)
    _check_group(path, check)
    journal = check_journal(path)
    check.commits = journal.commits
    check.findings += journal.findings
    check.notes += journal.notes
    check.notes += [
        f"{video_id} is not in the cache: its writer died, or is at work, as it replaced it; repair stores it"
        for video_id in sorted(journal.revoked)
    ]
    _look_for_folders_without_a_line(path, check)
    return check


def _check_root(path: Location, check: StoreCheck) -> dict[str, Any]:
    """Return the provenance, or nothing where it cannot be read."""
    try:
        provenance = read_root(path)
        wrong = _wrong_root(read_metadata(path))
    except (UsageError, DamageError) as error:
        if not _has_journal(path) or _is_newer(path):
            raise
        wrong = f"{error.message}; restore it from a copy"
    if wrong:
        check.findings.append(Finding(METADATA, "root", wrong))
    return {} if wrong else provenance


def _has_journal(path: Location) -> bool:
    if isinstance(path, ObjectPath):
        return next((path / JOURNAL).list(), None) is not None
    return (path / JOURNAL).is_dir()


def _is_newer(path: Location) -> bool:
    """Return whether a cache is of another format, rather than damaged: its own checksum is right."""
    try:
        attributes = read_metadata(path)["attributes"]
    except DamageError:
        return False
    is_whole = attributes.get("sha256") == digest(attributes)
    return bool(is_whole and attributes.get("format_version") != FORMAT_VERSION)


def _wrong_root(metadata: dict[str, Any]) -> str:
    attributes = metadata["attributes"]
    unknown = (metadata.keys() - {"zarr_format", "node_type", "attributes", CONSOLIDATED}) | (
        attributes.keys() - ROOT_KEYS
    )
    if unknown:
        return f"unknown keys: {', '.join(sorted(unknown))}"
    if metadata.get("node_type") != "group":
        return f"node_type must be 'group', got {metadata.get('node_type')!r}"
    if "sha256" in attributes and attributes["sha256"] != digest(attributes):
        return "not what was written: its checksum differs"
    return ""


def _check_group(path: Location, check: StoreCheck) -> None:
    name = f"{VIDEOS}/{METADATA}"
    try:
        metadata = read_metadata(path / VIDEOS)
        metadata.pop(CONSOLIDATED, None)
        if metadata != json.loads(group_metadata({})):
            check.findings.append(Finding(name, "root", f"{path / name}: not the metadata of a group"))
    except DamageError as error:
        check.findings.append(Finding(name, "root", error.message))


def uncommitted_folders(path: Location, commits: dict[str, Commit]) -> list[str]:
    """Return the folders under their final names that no commit speaks of, sorted."""
    known = {commit.folder for commit in commits.values()}
    if isinstance(path, ObjectPath):
        return sorted(remote_folders(path).keys() - known)
    folders = (entry.name for entry in (path / VIDEOS).glob("*") if entry.is_dir())
    return sorted(name for name in folders if not name.startswith(TEMPORARY_PREFIX) and name not in known)


def _look_for_folders_without_a_line(path: Location, check: StoreCheck) -> None:
    """A writer that dies between the rename and its line leaves one folder; more than that are lost lines."""
    folders = uncommitted_folders(path, check.commits)
    if not folders:
        return
    named = ", ".join(folders[:3]) + (", ..." if len(folders) > 3 else "")
    if isinstance(path, ObjectPath):  # where what was replaced stays, for readers that still use it
        check.notes.append(
            f"no commit speaks of {len(folders)} folders in {VIDEOS}/ ({named}): old, or of a "
            "writer that died or is at work; repair removes those of yesterday and before"
        )
        return
    num_journals = len(list((path / JOURNAL).glob(f"{COMMITS}-*.jsonl")))
    if len(folders) > num_journals:
        what = f"{len(folders)} folders have no journal line ({named}): a journal file is missing or cut"
        check.findings.append(Finding(JOURNAL, "journal", what))
    else:
        check.notes.append(f"no commit speaks of {VIDEOS}/{named}: left by a writer that died, to be redone")
