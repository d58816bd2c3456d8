# SPDX-License-Identifier: Apache-2.0
"""Datasets of clips sorted into folders: the names of the folders say the split and the class."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

from ophclip.evaluate.datasets.cat21 import letters
from ophclip.evaluate.datasets.media import files_under, is_video
from ophclip.evaluate.datasets.reading import Findings, Reading, Recording, Span

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
REST = re.compile(r"(the)?(rest|others?|irrelevant|negatives?|background|non?\w+|not\w+)")


def clip_reader(
    stems: Mapping[str, str], label_of: Callable[[str, bool], int | None]
) -> Callable[[Path, Findings, bool], Reading]:
    """Return a reader of clip folders.

    `stems` maps the beginning of a folder's name, in letters alone, to a class key; the first that fits
    counts. `label_of(key, is_rest)` gives the label of a clip, or None where it is none of this dataset's.
    """

    def read(root: Path, findings: Findings, thorough: bool) -> Reading:
        recordings = []
        for path in files_under(root):
            if is_video(path):
                recording = _recording(root, path, stems, label_of, findings)
                if recording is not None:
                    recordings.append(recording)
        if not recordings and not findings.found:
            findings.error("missing-file", "there must be folders of clips, got no video", root)
        return Reading(recordings)

    return read


def _recording(
    root: Path,
    path: Path,
    stems: Mapping[str, str],
    label_of: Callable[[str, bool], int | None],
    findings: Findings,
) -> Recording | None:
    folders = [letters(name) for name in path.relative_to(root).parent.parts]
    splits = {SPLITS[name] for name in folders if name in SPLITS}
    if len(splits) != 1:
        said = f"its folders must name one split (train or test), got {'/'.join(folders) or 'none'}"
        findings.error("unknown-split", said, path)
        return None
    names = [name for name in folders if name not in SPLITS]
    is_rest = any(REST.fullmatch(name) for name in names)
    keys = {key for name in names if (key := _key(name, stems)) is not None}
    if len(keys) > 1 or (not keys and (not is_rest or len(set(stems.values())) > 1)):
        said = f"its folders must name one class ({', '.join(dict.fromkeys(stems.values()))}), "
        findings.error("unknown-label", f"{said}got {'/'.join(names) or 'none'}", path)
        return None
    label = label_of(keys.pop() if keys else "", is_rest)
    if label is None:
        return None
    video_id = "-".join(path.relative_to(root).with_suffix("").parts)
    span = Span(Fraction(0), None, label)
    return Recording(video_id, path, path, None, splits.pop(), (span,))


def _key(name: str, stems: Mapping[str, str]) -> str | None:
    if REST.fullmatch(name):
        return None
    return next((key for stem, key in stems.items() if name.startswith(stem)), None)
