# SPDX-License-Identifier: Apache-2.0
"""The folders of videos in an object store, and which of them nobody will need any more."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from ophclip.cache.journal import read_commits
from ophclip.cache.layout import VIDEOS
from ophclip.cache.location import ObjectPath
from ophclip.cache.objects import Listed

KEPT = timedelta(days=1)  # that an upload, or a reader of what was replaced, may take
DELETED_AT_ONCE = 1000


def remote_folders(path: ObjectPath) -> dict[str, list[Listed]]:
    """Return the objects of each folder below `videos`, committed or not, by its name."""
    folder, found = path / VIDEOS, defaultdict(list)
    for entry in folder.list():
        name, _, rest = entry.key.removeprefix(f"{folder.key}/").partition("/")
        if rest:  # else it is the metadata of the group
            found[name].append(entry)
    return dict(found)


def remove_old_folders(path: ObjectPath) -> list[str]:
    """Remove the folders that no commit speaks of and that nothing was written to for a day; name them."""
    before = datetime.now(UTC) - KEPT
    folders = remote_folders(path)  # first: what is committed meanwhile is in the journal, which is read next
    committed = {commit.folder for commit in read_commits(path).values()}
    old = {
        name: entries
        for name, entries in folders.items()
        if name not in committed and max(entry.modified for entry in entries) < before
    }
    keys = [entry.key for entries in old.values() for entry in entries]
    for first in range(0, len(keys), DELETED_AT_ONCE):
        path.bucket.delete(keys[first : first + DELETED_AT_ONCE])
    return sorted(old)
