# SPDX-License-Identifier: Apache-2.0
"""Whether a media file holds all that its container declares: read from its outermost boxes alone.

FFmpeg reads a file that was cut short as if it ended there. MP4, Matroska and AVI declare the size of what
follows, so a cut shows to the byte. A container that declares no sizes, as MPEG-TS, hides it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ophclip.errors import OphclipError

MAX_BOXES = 100_000  # a fragmented MP4 has two a fragment; more is no reason to read on

ISO_FIRST = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
ISO_NEEDED = frozenset({b"moov", b"moof", b"mdat"})  # a cut within any other box loses no picture
UNKNOWN_LENGTH = 0xFFFF_FFFF  # in an AVI whose recorder was stopped halfway
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def check_complete(path: Path) -> None:
    """Check that the file does not end before what its container declares.

    Raises:
        OphclipError: it is truncated.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[4:8] in ISO_FIRST:
            _check_iso(file, size, path)
        elif start[:4] == EBML:
            _check_matroska(file, size, path)
        elif start[:4] == b"RIFF" and start[8:] == b"AVI ":
            _check_avi(file, size, path)


def truncated(path: Path, what: str) -> OphclipError:
    """Return the error for a file that was cut short: `what` says how that shows."""
    return OphclipError(f"{path}: the file is truncated: {what}", remedy="fetch it again")


def _check_iso(file: BinaryIO, size: int, path: Path) -> None:
    kinds = set()
    for kind, end in _iso_boxes(file, size):
        kinds.add(kind)
        if kind in ISO_NEEDED and end > size:
            raise truncated(path, f"{size:,} of at least {end:,} bytes are there")
    if b"mdat" in kinds and not kinds & {b"moov", b"meta"}:  # still pictures have a meta box
        raise truncated(path, "its index, the moov box, is missing")


def _iso_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    position = 0
    for _ in range(MAX_BOXES):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        if length == 0:  # up to the end of the file
            length = size - position
        if length < 8:
            return  # no box: cameras append what they like
        position += length
        yield kind, position


def _check_matroska(file: BinaryIO, size: int, path: Path) -> None:
    file.seek(4)
    header_length = _ebml_size(file)
    if header_length is None:
        return
    file.seek(header_length, 1)
    if file.read(4) != SEGMENT:
        return
    length = _ebml_size(file)
    end = file.tell() + (length or 0)  # a live recording declares no length
    if end > size:
        raise truncated(path, f"{size:,} of {end:,} bytes are there")


def _ebml_size(file: BinaryIO) -> int | None:
    """Read a variable-length size (RFC 8794, 4); None where it is unknown or the file ends."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    num_bytes = 9 - first[0].bit_length()
    rest = file.read(num_bytes - 1)
    value = int.from_bytes(bytes([first[0] & (0xFF >> num_bytes)]) + rest, "big")
    return None if value == (1 << 7 * num_bytes) - 1 else value


def _check_avi(file: BinaryIO, size: int, path: Path) -> None:
    position = 12
    for _ in range(MAX_BOXES):
        file.seek(position)
        header = file.read(12)
        if len(header) < 12:
            raise truncated(path, "its frames are missing")
        kind, length, content = struct.unpack("<4sI4s", header)
        if length == UNKNOWN_LENGTH:
            return
        end = position + 8 + length
        if end > size:
            raise truncated(path, f"{size:,} of at least {end:,} bytes are there")
        if (kind, content) == (b"LIST", b"movi"):
            return  # what follows is the index of the frames, which players can do without
        position = end + length % 2
