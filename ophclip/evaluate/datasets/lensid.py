# SPDX-License-Identifier: Apache-2.0
"""LensID: clips that show the implantation of the lens, or the rest of the operation."""

from __future__ import annotations

from ophclip.evaluate.datasets.clips import clip_reader
from ophclip.evaluate.datasets.reading import Adapter, Facts, Published

FACTS = Facts(
    name="lensid",
    title="LensID, lens implantation or rest",
    task="phase",
    unit="clip",
    classes=("lens_implantation", "rest"),
    licence="CC BY-NC 4.0",
    where="ITEC, University of Klagenfurt: datasets/ovid/LensID (phase recognition part)",
    split="official: 2040 training, 360 test clips; test is scored",
    eval_split="test",
    published=(Published("clips.train", 2040), Published("clips.test", 360)),
    prompts="lensid.toml",
)

STEMS = {"lens": "lens_implantation", "implant": "lens_implantation"}


def _label(key: str, is_rest: bool) -> int:
    return int(is_rest)


ADAPTER = Adapter(FACTS, clip_reader(STEMS, _label))
