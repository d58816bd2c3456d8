# SPDX-License-Identifier: Apache-2.0
"""Read text whose encoding nobody wrote down: marked UTF-16 or UTF-8, plain UTF-8, else Windows-1252."""

from __future__ import annotations

import codecs
from collections import Counter
from pathlib import Path

from ophclip.errors import OphclipError

MAX_TRANSCRIPT_BYTES = 256 * 2**20  # an hour of speech with word times takes 3 MB
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, notes: Counter[str]) -> str:
    """Return the text of a file with plain line feeds; `notes` counts a guess at the encoding.

    Raises:
        OphclipError: the file is unreadable, empty, far too large or binary.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_TRANSCRIPT_BYTES else b""
    except OSError as error:
        raise OphclipError(f"{path}: cannot be read: {error.strerror}", remedy="mend its access") from error
    if size > MAX_TRANSCRIPT_BYTES:
        raise broken(path, f"a transcript must have at most {MAX_TRANSCRIPT_BYTES} bytes, got {size}")
    if not data.strip():
        raise broken(path, "the file is empty")
    text = _decode(path, data, notes)
    if "\0" in text:
        raise broken(path, "a transcript must be text, got binary data")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def broken(path: Path, problem: str) -> OphclipError:
    """Return the error for a transcript that cannot be used."""
    return OphclipError(f"{path}: {problem}", remedy="make or fetch that transcript again, or take it out")


def _decode(path: Path, data: bytes, notes: Counter[str]) -> str:
    try:
        return data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith(_UTF16) or b"\0" in data:
            raise broken(path, f"a transcript must be text, got byte 0x{data[error.start]:02x}") from error
    notes["files read as Windows-1252"] += 1
    return data.decode("cp1252", "replace")
