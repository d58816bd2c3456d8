# SPDX-License-Identifier: Apache-2.0
"""What a cache holds, video by video and in all: what `cache ls` and `cache info` show."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ophclip import console
from ophclip.cache.content import content_hash
from ophclip.cache.journal import count_writers, read_failures
from ophclip.cache.location import Location
from ophclip.cache.source_file import source_state
from ophclip.cache.store import FeatureCache, open_cache

State = Literal["stored", "failed", "changed", "gone"]
MAX_REASONS = 20  # of different failures that are shown


@dataclass(frozen=True)
class Listed:
    """A video of a cache; `state` is "changed" or "gone" where its file no longer is what was stored."""

    video_id: str
    state: State
    frames: int = 0
    hours: float = 0.0
    num_bytes: int = 0
    source: str = ""
    reason: str = ""  # why it failed

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types under the names that `ls --json` has."""
        fields = asdict(self)
        return {"bytes" if key == "num_bytes" else key: value for key, value in fields.items()}


def list_videos(path: Location, states: Sequence[State] = (), *, check_sources: bool = False) -> list[Listed]:
    """Return the videos of a cache in one of `states` (empty: all), sorted by id; failures come last.

    With `check_sources` the video files are compared with what was stored of them: by size and date, and by
    their content where only the date differs. A video that is stored and whose file has failed since is
    listed as both.

    Raises:
        UsageError: there is no cache.
        DamageError: its journal cannot be read.
    """
    cache = open_cache(path)
    listed = [*_stored(cache, check_sources)] + [
        Listed(video_id, "failed", reason=reason) for video_id, reason in sorted(read_failures(path).items())
    ]
    return [video for video in listed if not states or video.state in states]


def _stored(cache: FeatureCache, check_sources: bool) -> Iterator[Listed]:
    row_bytes = math.prod(cache.row_shape) * cache.dtype.itemsize
    states = _source_states(cache) if check_sources else {}
    for video_id in cache.ids:
        num_frames = cache.num_frames(video_id)
        yield Listed(
            video_id,
            states.get(video_id, "stored"),
            num_frames,
            round(num_frames / cache.provenance["fps"] / 3600, 6),
            num_frames * row_bytes,
            str(cache.source_path(video_id)),
        )


def _source_states(cache: FeatureCache) -> dict[str, State]:
    states = dict[str, State]()
    with console.progress("ls", len(cache), "videos") as progress:
        for video_id in cache:
            state = source_state(cache.entry(video_id))
            states[video_id] = "stored" if state == "same" else state
            progress.advance()
    return states


def summarize(path: Location) -> dict[str, Any]:
    """Return what a cache holds and how it was made, as plain JSON types.

    Raises:
        UsageError: there is no cache.
        DamageError: its journal, or the metadata of a video, cannot be read.
    """
    cache = open_cache(path)
    failures = read_failures(path)
    num_frames = sum(cache.num_frames(video_id) for video_id in cache)
    return {
        "path": str(path),
        "videos": len(cache),
        "failed": len(failures),
        "frames": num_frames,
        "hours": round(num_frames / cache.provenance["fps"] / 3600, 4),
        "bytes": num_frames * math.prod(cache.row_shape) * cache.dtype.itemsize,
        "content_hash": content_hash(cache),
        "writers": dict(zip(("all", "running"), count_writers(path), strict=True)),
        "failures": by_reason(failures.values()),
        **cache.provenance,
    }


def by_reason(reasons: Iterable[str]) -> dict[str, int]:
    """Count failures by what they have in common, the commonest first: paths and numbers are left out."""
    counts = Counter(_kind(reason) for reason in reasons)
    return dict(counts.most_common(MAX_REASONS))


def _kind(reason: str) -> str:
    if reason.startswith("/"):  # the path of the file; what was wrong follows
        reason = reason.partition(": ")[2] or reason
    return re.sub(r"\d[\d.,]*\d|\d", "N", reason)
