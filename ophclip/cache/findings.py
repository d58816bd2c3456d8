# SPDX-License-Identifier: Apache-2.0
"""What a check of a cache found: each damaged item, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["rows", "metadata", "times", "sample", "root", "journal"]


@dataclass(frozen=True)
class Finding:
    """One damage: `item` is a video id, or a file of the cache where `kind` is "root" or "journal"."""

    item: str
    kind: Kind
    what: str

    @property
    def is_of_a_video(self) -> bool:
        """Whether `item` is a video id."""
        return self.kind not in ("root", "journal")


@dataclass
class VerifyReport:
    """What was checked and what was found; `unchecked`: why a sampled video could not be decoded anew."""

    videos: int = 0
    num_bytes: int = 0  # of rows read
    frames_decoded: int = 0  # by --sample
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    unchecked: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what is worth knowing and is no damage
    remedy: str = ""  # what mends the findings
    content_hash: str = ""  # known where all videos were checked and nothing is damaged

    @property
    def damaged(self) -> list[str]:
        """The ids of damaged videos, sorted."""
        return sorted({finding.item for finding in self.findings if finding.is_of_a_video})

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        rate = self.num_bytes / self.seconds / 1e6 if self.seconds else 0.0
        return {
            "videos": self.videos,
            "bytes": self.num_bytes,
            "frames_decoded": self.frames_decoded,
            "seconds": round(self.seconds, 3),
            "mb_per_s": round(rate, 1),
            "damaged": self.damaged,
            "findings": [asdict(finding) for finding in self.findings],
            "unchecked": self.unchecked,
            "notes": self.notes,
            "content_hash": self.content_hash or None,
        }
