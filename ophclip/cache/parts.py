# SPDX-License-Identifier: Apache-2.0
"""Divide the videos of a build among machines that know nothing of each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ophclip.cache.inputs import CacheInput
from ophclip.errors import UsageError


@dataclass(frozen=True)
class Part:
    """Part `number` of `count`, counted from 1: every id is in exactly one of them."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read `3/8`, the third of eight parts.

        Raises:
            UsageError: it is no such fraction, or not from 1/8 to 8/8.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        number, count = (int(group) for group in match.groups()) if match else (0, 0)
        if not 1 <= number <= count:
            raise UsageError(
                f"part must be I/N with I from 1 to N, got {text!r}",
                remedy="pass 3/8 for the third of eight; a Slurm array needs --array=1-8",
            )
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, video_id: str) -> bool:
        """Return whether a video belongs to this part: by its id alone, so the same on every machine."""
        digest = hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def of(self, inputs: Iterable[CacheInput]) -> list[CacheInput]:
        """Return the inputs of this part, in their order."""
        return [item for item in inputs if self.holds(item.video_id)]
