# SPDX-License-Identifier: Apache-2.0
"""Find videos in a folder of downloads, and the information and transcripts that belong to each.

What belongs together has the name of the video with other endings (`Case 3 [id].mp4`, `Case 3 [id].en.vtt`,
`Case 3 [id].info.json`), in the same folder, or, where that name or id is one video's alone, in another.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ophclip.corpus.transcripts import read_transcript
from ophclip.corpus.transcripts.whisper import load_json
from ophclip.errors import OphclipError
from ophclip.video.header import SUFFIXES

TRANSCRIPT_SUFFIXES = frozenset({".vtt", ".srt", ".json", ".csv"})
INFO_SUFFIX = ".info.json"
UNFINISHED = (".part", ".ytdl", ".aria2")

_BRACKETED = re.compile(r"\[([\w-]{6,64})\]$")  # the usual template of yt-dlp: "title [id].ext"
_ONE_STREAM = re.compile(r"\.f\d{1,4}(?:-\w+)?$")  # "name.f137.mp4": picture alone, not yet joined to its sound
_TEMPORARY = re.compile(r"\.temp$")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]+)*")


@dataclass
class Download:
    """A video file, and what lies around it; `name_id` is the id that its name gives."""

    media: Path
    name_id: str
    info: Path | None = None
    transcripts: list[tuple[Path, str | None]] = field(default_factory=list)  # with the language in its name


@dataclass
class Downloads:
    """What a folder holds: videos in the order of their paths, what is wrong, and how much is neither."""

    videos: list[Download]
    problems: list[tuple[Path, str]] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def find_downloads(root: Path, leave_out: Path | None = None) -> Downloads:
    """Look through a folder to the bottom; hidden files and the folder `leave_out` are passed over."""
    files = list(_files(root, leave_out))
    downloads = Downloads([])
    media = [path for path in files if path.suffix.lower() in SUFFIXES and not _is_piece(path)]
    videos = {path: Download(path, name_id(path)) for path in media}
    downloads.videos = list(videos.values())
    near: dict[tuple[Path, str], list[Download]] = {}
    anywhere: dict[str, list[Download]] = {}
    for video in downloads.videos:
        for name in {video.media.stem, video.media.name, video.name_id}:
            near.setdefault((video.media.parent, name), []).append(video)
            anywhere.setdefault(name, []).append(video)
    stems = {(path.parent, path.stem) for path in media}
    for path in files:
        if path in videos:
            continue
        suffix = path.suffix.lower()
        if suffix in UNFINISHED or _is_piece(path):
            _note_unfinished(path, stems, downloads)
        elif path.name.endswith(INFO_SUFFIX) or suffix in TRANSCRIPT_SUFFIXES:
            _give(path, near, anywhere, downloads)
        else:
            downloads.ignored[suffix or "no suffix"] += 1
    return downloads


def name_id(media: Path) -> str:
    """Return the id of a video as its file name gives it: what stands in brackets at its end, or all of it."""
    match = _BRACKETED.search(media.stem)
    return match[1] if match else media.stem


def _files(root: Path, leave_out: Path | None) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        place = Path(folder)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and place / name != leave_out
        )
        yield from (place / name for name in sorted(names) if not name.startswith("."))


def _is_piece(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES:
        return False
    return bool(_ONE_STREAM.search(path.stem) or _TEMPORARY.search(path.stem))


def _note_unfinished(path: Path, stems: set[tuple[Path, str]], downloads: Downloads) -> None:
    bare = path.name
    while Path(bare).suffix.lower() in (*UNFINISHED, *SUFFIXES):
        bare = Path(bare).stem
    bare = _TEMPORARY.sub("", _ONE_STREAM.sub("", bare))
    if (path.parent, bare) in stems:
        downloads.ignored["left from a download"] += 1
    else:
        downloads.problems.append((path, "the download is not finished; run yt-dlp again"))


def _give(
    path: Path,
    near: dict[tuple[Path, str], list[Download]],
    anywhere: dict[str, list[Download]],
    downloads: Downloads,
) -> None:
    is_info = path.name.endswith(INFO_SUFFIX)
    bare = path.name.removesuffix(INFO_SUFFIX) if is_info else path.stem
    language: str | None = None
    while bare:
        # A name beside it wins over the same name elsewhere.
        owners = near.get((path.parent, bare)) or anywhere.get(bare, [])
        if len(owners) == 1:
            if is_info:
                owners[0].info = path
            else:
                owners[0].transcripts.append((path, language))
            return
        if owners:
            named = ", ".join(str(owner.media) for owner in owners[:3])
            downloads.problems.append((path, f"could belong to several videos: {named}"))
            return
        bare, _, ending = bare.rpartition(".")
        language = ending if _LANGUAGE.fullmatch(ending) else language
    _note_orphan(path, is_info, downloads)


def _note_orphan(path: Path, is_info: bool, downloads: Downloads) -> None:
    """Name what belongs to no video, unless it is about no video at all: a playlist, another table."""
    suffix = path.suffix.lower()
    try:
        if suffix in (".json", ".csv") and not is_info and read_transcript(path) is None:
            downloads.ignored[f"other {suffix}"] += 1
            return
        if is_info and load_json(path, Counter()).get("_type") in ("playlist", "multi_video"):
            downloads.ignored["playlists"] += 1
            return
    except (OphclipError, AttributeError):
        pass  # broken, and nobody's: named all the same
    downloads.problems.append((path, "no video has this name"))
