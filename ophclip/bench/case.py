# SPDX-License-Identifier: Apache-2.0
"""What is compared: a case, the contest that it prepares, and what it must reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from ophclip.bench.session import Session

Runner = Callable[[], Tensor]  # does the work once and returns what all contestants must agree on

FASTEST = "fastest peer"
OF_FLOOR = "% of floor"


class UnavailableError(Exception):
    """A peer, or a whole case, cannot run here; the message says why, and how to get it."""


@dataclass(frozen=True)
class Target:
    """What a case must reach: at least, or at most, so much of a peer's ratio or of a figure."""

    of: str  # a peer's name, FASTEST, OF_FLOOR, or the name of a figure
    least: float | None = None
    most: float | None = None

    @property
    def text(self) -> str:
        """The target in words, as `lean compiled >= 1.2`."""
        sign, bound = (">=", self.least) if self.least is not None else ("<=", self.most)
        return f"{self.of} {sign} {bound:g}"

    def is_met_by(self, figure: float) -> bool:
        """Return whether `figure` reaches the target."""
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)


@dataclass
class Contest:
    """Ours and its peers on one set of inputs, ready to run.

    The floor is the least time that the arithmetic (`flops` at the measured `rate`) or the memory
    (`bytes_read` at the measured bandwidth) allows. A contest without `ours` only has `figures`.
    """

    ours: Runner | None = None
    peers: Mapping[str, Callable[[], Runner]] = field(default_factory=dict)  # built late: one may be missing
    flops: float = 0.0
    rate: str = "fp32"
    bytes_read: float = 0.0
    rounds: int | None = None  # fixed where one round takes many seconds
    tolerance: float = 1e-3  # of the largest value, between ours and a peer
    figures: Callable[[], dict[str, float]] | None = None

    def floor_s(self, rate: Callable[[str], float], bytes_per_s: Callable[[], float]) -> float | None:
        """Return the least time, given flop a second of a precision and bytes a second; None without work."""
        arithmetic = self.flops / rate(self.rate) if self.flops else 0.0
        memory = self.bytes_read / bytes_per_s() if self.bytes_read else 0.0
        return max(arithmetic, memory) or None


@dataclass(frozen=True)
class Case:
    """A name, its section of the table, how to prepare it, and its targets."""

    name: str
    section: str
    prepare: Callable[[Session], Contest]
    targets: tuple[Target, ...] = ()
