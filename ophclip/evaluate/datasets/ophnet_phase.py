# SPDX-License-Identifier: Apache-2.0
"""OphNet2024, phases: 52 phase ids, 0 to 51; 51 is others."""

from __future__ import annotations

from ophclip.evaluate.datasets.ophnet import LICENCE, WHERE, ophnet_reader
from ophclip.evaluate.datasets.reading import Adapter, Facts, Published

FACTS = Facts(
    name="ophnet-phase",
    title="OphNet2024, phases",
    task="phase",
    unit="clip",
    classes=(),
    licence=LICENCE,
    where=WHERE,
    split="official: column split of the CSV; test is scored",
    eval_split="test",
    background="others",
    overlaps_are_published=True,
    published=(
        Published("videos", 743),
        Published("clips", 14674),
        Published("clips.train", 8773),
        Published("clips.val", 2964),
        Published("clips.test", 2937),
    ),
)

ADAPTER = Adapter(FACTS, ophnet_reader("OphNet2024_loca_challenge_phase.csv", "phase_id", 51))
