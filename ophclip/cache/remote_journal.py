# SPDX-License-Identifier: Apache-2.0
"""Write the journal of a cache in an object store: a video is committed when the PUT of its line returns.

Objects are written once and never changed, so a request that was given up and arrives late does no harm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ophclip.cache.crash import crash_point
from ophclip.cache.journal import COMMITS, FAILURES, Commit, last_time_ns, line_of, writer_name
from ophclip.cache.layout import JOURNAL
from ophclip.cache.location import ObjectPath
from ophclip.cache.remote_lines import merge, merge_if_many, object_name
from ophclip.errors import StorageError

MERGE_AT = 500  # lines of one writer


class RemoteJournal:
    """Enters what one writer has to say, as `journal.JournalWriter` does; threads may share it."""

    def __init__(self, cache: ObjectPath) -> None:
        """Begin; raises `StorageError` where the store cannot be reached."""
        self.name = writer_name()
        self._cache = cache
        for kind in (COMMITS, FAILURES):
            merge_if_many(cache, kind, self.name)
        self._last_ns = last_time_ns(cache)
        self._number = 0
        self._single: dict[str, dict[str, bytes]] = {COMMITS: {}, FAILURES: {}}  # not merged yet
        self._is_reachable = True
        self._lock = threading.Lock()

    def commit(self, commit: Commit) -> None:
        """Make a video visible to readers; on return its line is stored."""
        self._append(COMMITS, commit._asdict())

    def revoke(self, video_id: str) -> None:
        """Make a committed video invisible."""
        self._append(COMMITS, {"video_id": video_id, "revoked": True})

    def fail(self, video_id: str, reason: str, **source: Any) -> None:
        """Record why a video could not be stored; `source` says which state of which file that was."""
        self._append(FAILURES, {"video_id": video_id, "reason": reason} | source)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nothing is put into a shared place here, so writers need not take turns."""
        yield

    def close(self) -> None:
        """Merge what was written one by one, unless the store was lost."""
        with self._lock:
            for kind in (COMMITS, FAILURES):
                if self._is_reachable and len(self._single[kind]) > 1:
                    with suppress(StorageError):
                        self._merge(kind)

    def _append(self, kind: str, entry: dict[str, Any]) -> None:
        with self._lock:
            self._last_ns = max(time.time_ns(), self._last_ns + 1)
            line, name = line_of(entry, self._last_ns), self._new_name(kind, 0)
            folder = self._cache / JOURNAL
            try:
                if not folder.bucket.create((folder / name).key, line):
                    raise StorageError(
                        f"{folder / name} holds another line", remedy="run the same build again"
                    )
            except StorageError:
                self._is_reachable = False
                raise
            self._single[kind][name] = line
            if len(self._single[kind]) >= MERGE_AT:
                with suppress(StorageError):  # the line itself is stored
                    self._merge(kind)

    def _merge(self, kind: str) -> None:
        crash_point("before-merge")
        merge(self._cache, kind, self._single[kind], 1, self.name, self._number)
        crash_point("after-merge")
        self._number += 1
        self._single[kind] = {}

    def _new_name(self, kind: str, level: int) -> str:
        self._number += 1
        return object_name(kind, level, self.name, self._number)
