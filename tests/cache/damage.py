# SPDX-License-Identifier: Apache-2.0
"""What is done to a cache before it is verified, and what is then found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ophclip.cache.findings import VerifyReport


def found(report: VerifyReport) -> list[tuple[str, str]]:
    return [(finding.item, finding.kind) for finding in report.findings]


def rows_of(path: Path, video_id: str) -> Path:
    return path / "videos" / video_id / "c" / "0" / "0"


def metadata_of(path: Path, video_id: str) -> Path:
    return path / "videos" / video_id / "zarr.json"


def journal_of(path: Path) -> Path:
    (journal,) = (path / "_journal").glob("commits-*.jsonl")
    return journal


def flip(file: Path, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(file.read_bytes())
    change(document["attributes"])
    file.write_text(json.dumps(document))
