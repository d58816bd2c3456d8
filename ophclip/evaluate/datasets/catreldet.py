# SPDX-License-Identifier: Apache-2.0
"""CatRelDet (relevant-cat-actions): clips of four relevant phases, each against the rest.

The dataset is four two-class problems, `catreldet-<phase>` here. `catreldet` itself asks which of the four
a relevant clip shows; there the rest is background, for the rest of one phase may show another.
"""

from __future__ import annotations

from functools import partial

from ophclip.evaluate.datasets.clips import clip_reader
from ophclip.evaluate.datasets.reading import BACKGROUND, Adapter, Facts, Published

PHASES = ("implantation", "irrigation_aspiration", "phacoemulsification", "rhexis")
REST = "rest"
STEMS = {
    "implant": "implantation",
    "irrigation": "irrigation_aspiration",
    "viscoelastic": "irrigation_aspiration",
    "pha": "phacoemulsification",
    "rhexis": "rhexis",
    "capsulorhexis": "rhexis",
}
PER_SPLIT = {"train": 2000, "test": 400}  # half of them relevant, half rest, for each phase
WHERE = "ITEC, University of Klagenfurt: datasets/ovid/relevant-cat-actions"
SPLIT = "official: 1000 + 1000 training and 200 + 200 test clips a phase; test is scored"


def _label(key: str, is_rest: bool) -> int:
    return BACKGROUND if is_rest or not key else PHASES.index(key)


def _label_against_rest(phase: str, key: str, is_rest: bool) -> int | None:
    return None if key != phase else int(is_rest)


def _facts(name: str, title: str, classes: tuple[str, ...], background: str, phases: int) -> Facts:
    return Facts(
        name=name,
        title=title,
        task="phase",
        unit="clip",
        classes=classes,
        licence="CC BY-NC 4.0",
        where=WHERE,
        split=SPLIT,
        eval_split="test",
        background=background,
        published=tuple(Published(f"clips.{split}", phases * n) for split, n in PER_SPLIT.items()),
        prompts="catreldet.toml",
    )


def _binary(phase: str) -> Adapter:
    name = f"catreldet-{phase.replace('_', '-')}"
    facts = _facts(name, f"CatRelDet, {phase.replace('_', ' ')} or rest", (phase, REST), "", 1)
    return Adapter(facts, clip_reader(STEMS, partial(_label_against_rest, phase)))


ADAPTER = Adapter(
    _facts("catreldet", "CatRelDet, which relevant phase", PHASES, REST, len(PHASES)),
    clip_reader(STEMS, _label),
)
IMPLANTATION, IRRIGATION_ASPIRATION, PHACOEMULSIFICATION, RHEXIS = map(_binary, PHASES)
