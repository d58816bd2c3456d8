# SPDX-License-Identifier: Apache-2.0
"""Make an empty cache, or refuse a folder that is another one's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ophclip.cache.layout import FORMAT_VERSION, JOURNAL, METADATA, VIDEOS, group_metadata
from ophclip.cache.location import Location, ObjectPath
from ophclip.errors import UsageError
from ophclip.files import fsync_folder, remove_unfinished, write_once

# Keys of the provenance that a user sets, and by which option.
CHOSEN = {
    "encoder": "--encoder or --stream",
    "fps": "--fps",
    "geometry": "--size or encoder",
    "decoder": "--decoder",
}


def check_provenance(path: Location, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse to mix features: every key but the versions must agree.

    Raises:
        UsageError: one differs; names it and both values.
    """
    others = sorted((stored.keys() | wanted.keys()) - CHOSEN.keys() - {"versions"})
    for key in (*CHOSEN, *others):  # what the user chose, before what follows from it
        if stored.get(key) != wanted.get(key):
            raise UsageError(
                f"{path} was built with {key} = {stored.get(key)!r}, this run has {wanted.get(key)!r}",
                remedy=f"pass the same {CHOSEN.get(key, 'encoder')}, or another --out",
            )


def make_root(path: Path, provenance: dict[str, Any]) -> None:
    """Make an empty cache at `path` if none is there; also where another process does the same.

    Raises:
        UsageError: `path` is something else.
    """
    if not (path / METADATA).exists():
        # Asked again last: another process may have made it just now.
        if path.exists() and not _is_begun(path) and not (path / METADATA).exists():
            raise UsageError(f"{path} exists and is not a cache", remedy="name another --out")
        (path / VIDEOS).mkdir(parents=True, exist_ok=True)
        (path / JOURNAL).mkdir(exist_ok=True)
        write_once(path / VIDEOS / METADATA, group_metadata({}))
        write_once(path / METADATA, root_metadata(provenance))
        fsync_folder(path / VIDEOS)
        fsync_folder(path)
        fsync_folder(path.absolute().parent)
    remove_unfinished(path / METADATA)
    remove_unfinished(path / VIDEOS / METADATA)


def make_remote_root(path: ObjectPath, provenance: dict[str, Any]) -> None:
    """Make an empty cache at `path` if none is there; also where another process does the same.

    Raises:
        UsageError: `path` is something else, or there is no such bucket.
        StorageError: the store cannot be written.
    """
    if (path / METADATA).is_file():
        return
    group = path / VIDEOS / METADATA
    ours = (path / METADATA).key, group.key
    others = (found.key for found in path.list() if found.key not in ours)
    if next(others, None) and not (path / METADATA).is_file():
        raise UsageError(f"{path} exists and is not a cache", remedy="name another --out")
    path.bucket.create(group.key, group_metadata({}))
    path.bucket.create((path / METADATA).key, root_metadata(provenance))


def root_metadata(provenance: dict[str, Any]) -> bytes:
    """Return the `zarr.json` of a cache."""
    attributes = {"format_version": FORMAT_VERSION, "provenance": provenance}
    return group_metadata(attributes | {"sha256": digest(attributes)})


def digest(attributes: dict[str, Any]) -> str:
    """Return the checksum that the attributes of a cache carry of themselves: of the others, keys sorted."""
    others = {key: value for key, value in attributes.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _is_begun(path: Path) -> bool:
    """Return whether a folder is empty, or holds no more than a process can leave that dies as it begins."""
    if not path.is_dir() or any(entry.name not in (VIDEOS, JOURNAL) for entry in _visible(path)):
        return False
    return not (path / VIDEOS).exists() or all(entry.name == METADATA for entry in _visible(path / VIDEOS))


def _visible(folder: Path) -> Iterator[Path]:
    return (entry for entry in folder.iterdir() if not entry.name.startswith(f".{METADATA}."))
