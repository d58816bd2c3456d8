# SPDX-License-Identifier: Apache-2.0
"""Find the videos and pictures of a download, wherever its archives were unpacked to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ophclip.evaluate.datasets.reading import Findings

VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v", ".mpg")  # the first that is there counts
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


def files_under(root: Path) -> Iterator[Path]:
    """Yield the files below a folder in a fixed order, leaving out what is hidden."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))


def is_video(path: Path) -> bool:
    """Return whether the name is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def videos_by_stem(root: Path, findings: Findings) -> dict[str, Path]:
    """Return the videos below a folder by the stem of their name; two of one stem are an error."""
    found: dict[str, Path] = {}
    for path in files_under(root):
        if not is_video(path):
            continue
        if path.stem in found:
            findings.error("duplicate", f"the video is there twice, also as {found[path.stem]}", path)
        found.setdefault(path.stem, path)
    return found


def video_beside(stem: Path) -> Path:
    """Return the video of this name without its suffix; as `.mp4` where there is none."""
    candidates = [stem.with_name(stem.name + suffix) for suffix in VIDEO_SUFFIXES]
    return next((path for path in candidates if path.is_file()), candidates[0])


def line_of(text: str, wanted: str) -> int:
    """Return the line on which a text first says `wanted`; the first where it does not."""
    position = text.find(wanted)
    return text.count("\n", 0, max(position, 0)) + 1
