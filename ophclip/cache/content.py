# SPDX-License-Identifier: Apache-2.0
"""The content hash: equal exactly where two caches hold the same rows and times, however they came about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from ophclip import console

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ophclip.cache.store import FeatureCache

PREFIX = "ophclip-content-1"
PROGRESS_FROM = 2000  # videos, which take a second or so


def content_hash(cache: FeatureCache) -> str:
    """Return the content hash of a cache, from the checksums and times that lie beside its rows.

    It covers the provenance without versions and, of each video in the order of ids, the id, the number of
    rows, their SHA-256 and their times. Paths, dates, versions, the number and order of writers, and whether
    a run was interrupted leave no trace in it. The rows themselves are not read: `verify_cache` does that.

    Raises:
        DamageError: the metadata of a video cannot be read.
    """
    is_long = len(cache) > PROGRESS_FROM
    with console.progress("content hash", len(cache), "videos") if is_long else nullcontext() as progress:

        def videos() -> Iterator[bytes]:
            for video_id, attributes in cache.each_attributes():
                times_s = attributes.get("frame_times_s", [])
                if len(times_s) != cache.num_frames(video_id):
                    times_s = cache.times(video_id)  # which says what is damaged
                yield video_digest(video_id, str(attributes.get("data_sha256")), times_s)
                if progress:
                    progress.advance()

        return combine_digests(cache.provenance, videos())


def video_digest(video_id: str, data_sha256: str, times_s: ArrayLike) -> bytes:
    """Return what one video adds to the content hash, from the SHA-256 of its rows and their times `[T]`."""
    times = np.ascontiguousarray(times_s, dtype="<f8")
    return hashlib.sha256(_line(video_id, len(times), data_sha256) + times.tobytes()).digest()


def combine_digests(provenance: dict[str, Any], videos: Iterable[bytes]) -> str:
    """Return the content hash of videos by their digests, in the order of their ids."""
    lasting = {key: value for key, value in provenance.items() if key != "versions"}
    digest = hashlib.sha256(_line(PREFIX, lasting))
    for video in videos:
        digest.update(video)
    return digest.hexdigest()


def _line(*values: Any) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode() + b"\n"
