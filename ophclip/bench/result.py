# SPDX-License-Identifier: Apache-2.0
"""What was measured of one case, and whether it reached its targets."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ophclip.bench.case import FASTEST, OF_FLOOR, Target


@dataclass(frozen=True)
class Ratio:
    """A peer's time as a multiple of ours: the median over rounds, and half its interquartile range."""

    value: float
    spread: float

    @classmethod
    def of_rounds(cls, peer: Sequence[float], ours: Sequence[float]) -> Ratio:
        """Divide round by round: both of a round suffered the same state of the machine."""
        ratios = [theirs / mine for theirs, mine in zip(peer, ours, strict=False)]
        return cls(statistics.median(ratios), half_range(ratios))


@dataclass(frozen=True)
class Verdict:
    """A target, the true figure (None if it could not be measured), and whether it is met."""

    target: str
    figure: float | None
    met: bool | None


@dataclass
class Result:
    """The outcome of one case; times in seconds."""

    case: str
    section: str
    ours_s: float | None = None
    spread_s: float = 0.0
    rounds: int = 0
    ratios: dict[str, Ratio] = field(default_factory=dict)
    floor_s: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    error: str | None = None  # why ours failed, where it did

    @property
    def percent_of_floor(self) -> float | None:
        """How near ours comes to the least possible time, in percent."""
        return 100 * self.floor_s / self.ours_s if self.floor_s and self.ours_s else None

    def judge(self, targets: Sequence[Target]) -> None:
        """Set the verdicts on `targets`."""
        self.verdicts = []
        for target in targets:
            figure = self._figure(target.of)
            met = None if figure is None else target.is_met_by(figure)
            self.verdicts.append(Verdict(target.text, figure, met))

    def _figure(self, name: str) -> float | None:
        if name == FASTEST:
            return min((ratio.value for ratio in self.ratios.values()), default=None)
        if name == OF_FLOOR:
            return self.percent_of_floor
        return self.ratios[name].value if name in self.ratios else self.figures.get(name)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self) | {"percent_of_floor": self.percent_of_floor}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Result:
        """Read what `as_dict` wrote."""
        fields = {name: value for name, value in stored.items() if name != "percent_of_floor"}
        fields["ratios"] = {name: Ratio(**ratio) for name, ratio in stored["ratios"].items()}
        fields["verdicts"] = [Verdict(**verdict) for verdict in stored["verdicts"]]
        return cls(**fields)


def half_range(values: Sequence[float]) -> float:
    """Half the interquartile range: how far the middle half of the rounds lies apart."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2
