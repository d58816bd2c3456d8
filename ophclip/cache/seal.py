# SPDX-License-Identifier: Apache-2.0
"""The sum that ends each journal line, which tells a line that was changed from one that was written."""

from __future__ import annotations

import zlib

KEY = b',"crc32":'


def sealed(line: bytes) -> bytes:
    """Return a JSON object with the CRC-32 of all before it as its last entry, and a line break."""
    body = line.removesuffix(b"}")
    return b"%s%s%d}\n" % (body, KEY, zlib.crc32(body))


def is_sealed(line: bytes) -> bool:
    """Return whether a line, without its line break, is as `sealed` made it."""
    body, _, rest = line.rpartition(KEY)
    return rest == b"%d}" % zlib.crc32(body)
