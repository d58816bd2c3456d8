# SPDX-License-Identifier: Apache-2.0
"""Whether the video file that rows were made from is still there, and still the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from ophclip.cache.journal import Commit

SourceState = Literal["same", "changed", "gone"]


def source_state(commit: Commit) -> SourceState:
    """Compare a video file with what was stored of it; it is read only where its date alone has changed."""
    path = Path(commit.source_path)
    try:
        stat = path.stat()
        if stat.st_size != commit.source_size:
            return "changed"
        if stat.st_mtime_ns == commit.source_mtime_ns or file_sha256(path) == commit.source_sha256:
            return "same"
    except OSError:
        return "gone"
    return "changed"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
