# SPDX-License-Identifier: Apache-2.0
"""A small cache of known rows, made without videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ophclip.cache.commit import CacheWriter

ROWS = {name: np.arange(4 * n, dtype=np.float16).reshape(n, 4) for name, n in (("case_a", 5), ("case_b", 7))}
PROVENANCE: dict[str, Any] = {
    "encoder": "made",
    "key": {},
    "row_shape": [4],
    "dtype": "float16",
    "geometry": "16x16 crop",
    "fps": 1.0,
    "decoder": "none",
    "versions": {},
}


def make_cache(path: Path) -> Path:
    with CacheWriter(path, PROVENANCE) as writer:
        for video_id, rows in ROWS.items():
            writer.store(
                video_id,
                iter([rows]),
                {
                    "video_id": video_id,
                    "source_name": f"{video_id}.mp4",
                    "source_size": 1,
                    "source_sha256": "0" * 64,
                    "data_sha256": "",
                    "decoder": "none",
                    "time_base": "1/1000",
                    "start": "0",
                    "pts": [1000 * row for row in range(len(rows))],
                    "frame_times_s": [float(row) for row in range(len(rows))],
                },
                source_path=f"/videos/{video_id}.mp4",
                source_mtime_ns=7,
            )
    return path
