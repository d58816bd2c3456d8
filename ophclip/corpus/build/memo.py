# SPDX-License-Identifier: Apache-2.0
"""What earlier builds found out, so that only new and changed videos are read again.

One line a video in `.build.jsonl`, appended as it is done: an interrupted build goes on where it was. A line
is good for the same files (names, sizes, times of change), settings, lexicon and version of this program.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import IO

from ophclip._version import __version__
from ophclip.corpus.build.downloads import Download
from ophclip.corpus.build.settings import BuildSettings
from ophclip.corpus.build.video import VideoResult
from ophclip.corpus.lexicon import load_lexicon
from ophclip.errors import UsageError
from ophclip.files import replace_file

NAME = ".build.jsonl"
VERSION = 1  # of what the builder makes of the same files: raise it when that changes

# They are applied to what was found out, not while it is.
_LATE = ("min_words_per_s", "test_share")


class Memo:
    """The results of earlier builds by the state of the files that they came from; used as a context."""

    def __init__(self, out: Path, settings: BuildSettings) -> None:
        self._path = out / NAME
        kept = {key: repr(value) for key, value in vars(settings).items() if key not in _LATE}
        told = json.dumps([VERSION, __version__, kept, load_lexicon().digest], sort_keys=True)
        self._settings = hashlib.sha256(told.encode()).hexdigest()[:16]
        self._lines: dict[str, str] = {}
        self._used: dict[str, str] = {}
        self._num_lines = 0
        self._file: IO[str] | None = None

    def __enter__(self) -> Memo:
        """Read what is there, a last line that was cut short left out."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        whole, _, torn = text.rpartition("\n")
        for line in whole.split("\n") if whole else ():
            key, _, result = line.partition("\t")
            self._lines[key] = result
            self._num_lines += 1
        self._num_lines += bool(torn)
        self._file = self._path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Keep what was used, and nothing else, once the build is through."""
        if self._file is not None:
            self._file.close()
        if kind is None and self._num_lines != len(self._used):
            lines = "".join(f"{key}\t{result}\n" for key, result in self._used.items())
            replace_file(self._path, lines.encode("utf-8"))

    def key(self, download: Download) -> str:
        """Return what a result is found by: all of a video's files as they are now, and the settings."""
        paths = [download.media, *([download.info] if download.info else [])]
        paths += [path for path, _ in download.transcripts]
        parts = [self._settings]
        for path in paths:
            try:
                state = path.stat()
                parts.append(f"{path!r} {state.st_size} {state.st_mtime_ns}")
            except OSError as error:
                parts.append(f"{path!r} {error.errno}")
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def find(self, key: str) -> VideoResult | None:
        """Return the result of an earlier build, or None."""
        line = self._lines.get(key)
        if line is None:
            return None
        try:
            result = VideoResult.from_json(line)
        except (ValueError, TypeError, KeyError):
            return None
        self._used[key] = line
        return result

    def add(self, key: str, result: VideoResult) -> None:
        """Store a result; it is in the file when this returns."""
        assert self._file is not None, "the memo is used inside its context"
        line = result.to_json()
        self._file.write(f"{key}\t{line}\n")
        self._file.flush()
        self._num_lines += 1
        self._used[key] = line


def claim(out: Path) -> None:
    """Make the folder of the corpus, unless it holds one that no build made.

    Raises:
        UsageError: it does.
    """
    out.mkdir(parents=True, exist_ok=True)
    if (out / "videos.csv").exists() and not (out / NAME).exists():
        raise UsageError(
            f"{out} must be empty or built from downloads, got another corpus in it", remedy="pass another folder"
        )


def as_dict(settings: BuildSettings) -> dict[str, object]:
    """Return the settings as plain types, for the report."""
    told = dataclasses.asdict(settings)
    told["windows"] = [window.label for window in settings.windows]
    told["prefer"] = list(settings.prefer)
    return told
