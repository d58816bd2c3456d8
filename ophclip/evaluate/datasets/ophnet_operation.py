# SPDX-License-Identifier: Apache-2.0
"""OphNet2024, operations: 107 ids, 0 to 106; 106 is others; the file starts with a byte order mark."""

from __future__ import annotations

from ophclip.evaluate.datasets.ophnet import LICENCE, WHERE, ophnet_reader
from ophclip.evaluate.datasets.reading import Adapter, Facts, Published

FACTS = Facts(
    name="ophnet-operation",
    title="OphNet2024, operations",
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
        Published("clips", 17508),
        Published("clips.train", 10505),
        Published("clips.val", 3522),
        Published("clips.test", 3481),
    ),
)

ADAPTER = Adapter(FACTS, ophnet_reader("OphNet2024_loca_challenge.csv", "operation_id", 106))
