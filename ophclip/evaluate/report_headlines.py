# SPDX-License-Identifier: Apache-2.0
"""The numbers that come first in a report, and make the columns of a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Headline:
    """A number of a section of metrics.json: its name there, a plain one, and that of what chance gives."""

    section: str
    name: str
    label: str
    chance: str = ""
    more_is_better: bool = True

    @property
    def key(self) -> tuple[str, str]:
        """The place in metrics.json."""
        return self.section, self.name


HEADLINES = (
    Headline("phase", "accuracy.per_video_mean", "phase accuracy", "accuracy.chance_uniform"),
    Headline("phase", "f1.per_video_mean.present", "phase F1"),
    Headline("instrument", "map.pooled.defined_classes", "instrument mAP", "map.chance_prevalence"),
    Headline("instrument", "fpr.micro.prompt_softmax", "FPR (prompts)", more_is_better=False),
    Headline("instrument", "fpr.micro.probe_sigmoid", "FPR (probe)", more_is_better=False),
)


def headlines_of(numbers: dict[str, Any]) -> Iterator[Headline]:
    """Give those that metrics.json has."""
    return (headline for headline in HEADLINES if headline.name in numbers.get(headline.section, {}))
