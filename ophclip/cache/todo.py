# SPDX-License-Identifier: Apache-2.0
"""Which videos a build has to look at: not those that are stored, nor those that failed unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ophclip.cache.inputs import CacheInput
from ophclip.cache.journal import last_failures, read_failures
from ophclip.cache.report import Outcome
from ophclip.cache.source_file import SourceFile
from ophclip.cache.writer import Writer
from ophclip.errors import UsageError


@dataclass(frozen=True)
class Retry:
    """Which earlier failures are tried again: those whose reason contains `reason`, in any case."""

    reason: str

    @classmethod
    def parse(cls, text: str) -> Retry:
        """Read `failed` or `failed:REASON`.

        Raises:
            UsageError: it is neither.
        """
        kind, _, reason = text.partition(":")
        if kind != "failed":
            raise UsageError(
                f"retry must be failed or failed:REASON, got {text!r}", remedy="pass failed:deadline, say"
            )
        return cls(reason.strip())

    def covers(self, reason: str) -> bool:
        """Return whether a video that failed for `reason` is tried again."""
        return self.reason.casefold() in reason.casefold()


def check_ids(inputs: Sequence[CacheInput]) -> None:
    """Check that no two inputs share an id.

    Raises:
        UsageError: two do.
    """
    uses = Counter(item.video_id for item in inputs)
    shared = next((video_id for video_id, count in uses.items() if count > 1), None)
    if shared is not None:
        raise UsageError(f"video id {shared!r} names {uses[shared]} inputs", remedy="give each its own id")


def sorted_out(
    inputs: Sequence[CacheInput], writer: Writer, retry: Retry | None
) -> Iterator[CacheInput | Outcome]:
    """Yield the outcome of each input that needs no work, and the others as they are.

    No file is read for that, only looked at: one that was touched is work, though it may turn out the same.
    """
    failures = {} if retry and not retry.reason else last_failures(writer.path)
    now_failed = read_failures(writer.path)
    for item in inputs:
        try:
            file = SourceFile.of(item.path)
        except OSError:
            yield item  # whoever tries to read it says why not
            continue
        if _is_untouched(item, file, writer):
            if item.video_id in now_failed:
                writer.reaffirm(item.video_id)
            yield Outcome(item.video_id, "skipped")
        elif _is_known_to_fail(file, failures.get(item.video_id), retry):
            yield Outcome(item.video_id, "failed", reason=failures[item.video_id]["reason"], known=True)
        else:
            yield item


def _is_untouched(item: CacheInput, file: SourceFile, writer: Writer) -> bool:
    commit = writer.commits.get(item.video_id)
    return (
        commit is not None
        and (file.source_size, file.source_mtime_ns) == (commit.source_size, commit.source_mtime_ns)
        and writer.is_stored(item.video_id)
    )


def _is_known_to_fail(file: SourceFile, failure: dict[str, Any] | None, retry: Retry | None) -> bool:
    if failure is None or not file.is_named_by(failure):
        return False
    return retry is None or not retry.covers(failure["reason"])
