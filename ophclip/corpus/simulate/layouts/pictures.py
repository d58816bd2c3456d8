# SPDX-License-Identifier: Apache-2.0
"""Datasets of pictures with marked instruments: Cataract-1K, CatInstSeg and CaDIS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ophclip.corpus.simulate.layouts.footage import Film, instruments_at, phase_at
from ophclip.corpus.simulate.layouts.plan import Named, Plan, splits_of
from ophclip.corpus.simulate.production import Script

EVERY_S = 2.0  # a picture; the real ones are 5 s apart
FIRST_CADIS_VIDEOS = (2, 1, 5, 12, 3, 7, 22, 4, 16)  # test, train and validation in turn
MASK_SIDE = 64

CATARACT_1K: Named = {
    "keratome": ("slit_incision_knife", "Slit Knife"),
    "viscoelastic_cannula": ("gauge", "Gauge"),
    "hydrodissection_cannula": ("gauge", "Gauge"),
    "cystotome": ("capsulorhexis_cystotome", "Capsulorhexis Cystotome"),
    "capsulorhexis_forceps": ("capsulorhexis_forceps", "Capsulorhexis Forceps"),
    "phaco_probe": ("phacoemulsification_tip", "Phacoemulsification Tip"),
    "chopper": ("spatula", "Spatula"),
    "irrigation_aspiration_handpiece": ("irrigation_aspiration", "Irrigation-Aspiration"),
    "lens_injector": ("lens_injector", "Lens Injector"),
    "forceps": ("katena_forceps", "Katena Forceps"),
}
CATARACT_1K_ANATOMY = ("Cornea", "cornea1", "Pupil", "pupil1", "Lens")
CATINSTSEG: Named = {
    "keratome": ("slit_knife", "slit knife"),
    "viscoelastic_cannula": ("cannula", "cannula"),
    "hydrodissection_cannula": ("gauge_27_cannula", "27 gauge cannula"),
    "capsulorhexis_forceps": ("capsulorhexis_forceps", "capsulorhexis forceps"),
    "phaco_probe": ("phaco_tip", "phaco tip"),
    "chopper": ("spatula", "spatula"),
    "irrigation_aspiration_handpiece": ("irrigation_aspiration_handpiece", "I/A handpiece"),
    "lens_injector": ("cartridge", "cartridge"),
    "forceps": ("katena_forceps", "katena forceps"),
}
CATINSTSEG_CADIS: Named = {
    "keratome": ("primary_knife", "Primary knife"),
    "viscoelastic_cannula": ("viscoelastic_cannula", "Visco. cannula"),
    "hydrodissection_cannula": ("hydrodissection_cannula", "Hydro. cannula"),
    "cystotome": ("capsulorhexis_cystotome", "Cap. cystotome"),
    "capsulorhexis_forceps": ("capsulorhexis_forceps", "Cap. forceps"),
    "phaco_probe": ("phacoemulsifier_handpiece", "Phaco. handpiece"),
    "chopper": ("micromanipulator", "Micromanipulator"),
    "irrigation_aspiration_handpiece": ("irrigation_aspiration_handpiece", "A/I handpiece"),
    "lens_injector": ("lens_injector", "Lens injector"),
    "forceps": ("bonn_forceps", "Bonn forceps"),
}
CADIS_IDS = {
    "hydrodissection_cannula": ("hydrodissection_cannula", 7),
    "viscoelastic_cannula": ("viscoelastic_cannula", 8),
    "cystotome": ("capsulorhexis_cystotome", 9),
    "forceps": ("bonn_forceps", 11),
    "keratome": ("primary_knife", 12),
    "phaco_probe": ("phacoemulsifier_handpiece", 13),
    "lens_injector": ("lens_injector", 14),
    "irrigation_aspiration_handpiece": ("irrigation_aspiration_handpiece", 15),
    "chopper": ("micromanipulator", 17),
    "capsulorhexis_forceps": ("capsulorhexis_forceps", 19),
}


def _times(seconds: float) -> list[float]:
    return [float(time_s) for time_s in np.arange(0, seconds, EVERY_S)]


def _in_view(script: Script, time_s: float) -> list[str]:
    """Return the instruments of a picture; the chopper, which no phase lists, helps the phaco probe."""
    found = instruments_at(script, time_s)
    if phase_at(script, time_s) == "phacoemulsification":
        found.add("chopper")
    return sorted(found)


class _Coco:
    """A COCO file in the making."""

    def __init__(self, categories: Sequence[str]) -> None:
        self._ids = {name: number + 1 for number, name in enumerate(categories)}
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, file: str, names: Sequence[str]) -> None:
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": file, "width": 64, "height": 48})
        for name in names:
            box = [8, 8, 24, 16]
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": self._ids[name],
                    "bbox": box,
                    "segmentation": [[8, 8, 32, 8, 32, 24, 8, 24]],
                    "area": 384,
                    "iscrowd": 0,
                }
            )

    def encoded(self) -> bytes:
        categories = [{"id": number, "name": name} for name, number in self._ids.items()]
        content = {"images": self._images, "annotations": self._annotations, "categories": categories}
        return json.dumps(content, indent=1).encode()


def _written(named: Named) -> list[str]:
    return list(dict.fromkeys(name for _, name in named.values()))


def cataract1k_instruments(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan the instruments of Cataract-1K: pictures a case, in Supervisely JSON and in COCO."""
    plan = Plan()
    for index, script in enumerate(scripts):
        case, coco = 5013 + index, _Coco([*_written(CATARACT_1K), "Incision Knife", *CATARACT_1K_ANATOMY])
        folder = out / "Images-and-Supervisely-Annotations" / f"case_{case}"
        for number, time_s in enumerate(_times(seconds), start=1):
            name = f"case{case}_{number:02d}.png"
            seen = [CATARACT_1K[tool] for tool in _in_view(script, time_s) if tool in CATARACT_1K]
            plan.shown |= {key for key, _ in seen}
            written = [*dict.fromkeys(name for _, name in seen), "Pupil", "cornea1"]
            plan.films.append(Film(folder / "img" / name, script.part, seconds, time_s))
            objects = [{"classTitle": title, "points": {"exterior": [[8, 8], [32, 24]]}} for title in written]
            plan.files[folder / "ann" / f"{name}.json"] = json.dumps({"objects": objects}).encode()
            coco.add(name, written)
            plan.count("pictures")
        plan.files[out / "Coco-Annotations" / f"case_{case}" / "instances.json"] = coco.encoded()
        plan.count("videos")
    return plan


def catinstseg(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan set 1 of CatInstSeg: a COCO file a split."""
    return _catinstseg(out, scripts, seconds, CATINSTSEG, ["angled incision knife", "eye retractors"])


def catinstseg_cadis(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan set 2 of CatInstSeg, with the classes of CaDIS."""
    return _catinstseg(out, scripts, seconds, CATINSTSEG_CADIS, ["Rycroft cannula", "Suture needle"])


def _catinstseg(
    out: Path, scripts: Sequence[Script], seconds: float, named: Named, unseen: Sequence[str]
) -> Plan:
    plan = Plan()
    files = {split: _Coco([*_written(named), *unseen]) for split in ("train", "test")}
    for index, (script, split) in enumerate(zip(scripts, splits_of(scripts), strict=True)):
        for number, time_s in enumerate(_times(seconds)):
            name = f"case_{269 + index}_{number:03d}.png"
            seen = [named[tool] for tool in _in_view(script, time_s) if tool in named]
            plan.shown |= {key for key, _ in seen}
            files[split].add(name, list(dict.fromkeys(written for _, written in seen)))
            plan.films.append(Film(out / split / "img" / name, script.part, seconds, time_s))
            plan.count("pictures")
    for split in dict.fromkeys(splits_of(scripts)):
        plan.files[out / split / "annotations.json"] = files[split].encoded()
    return plan


def cadis(out: Path, scripts: Sequence[Script], seconds: float) -> Plan:
    """Plan CaDIS: pictures and masks of class ids, a folder a video."""
    plan = Plan()
    others = (number for number in count(6) if number not in FIRST_CADIS_VIDEOS)
    for video, script in zip(chain(FIRST_CADIS_VIDEOS, others), scripts, strict=False):
        folder = out / f"Video{video:02d}"
        for number, time_s in enumerate(_times(seconds)):
            name = f"Video{video}_frame{number * 150:06d}.png"
            seen = [CADIS_IDS[tool] for tool in _in_view(script, time_s) if tool in CADIS_IDS]
            plan.shown |= {key for key, _ in seen}
            plan.films.append(Film(folder / "Images" / name, script.part, seconds, time_s))
            plan.files[folder / "Labels" / name] = _mask([number for _, number in seen])
            plan.count("pictures")
        plan.count("videos")
    return plan


def _mask(ids: Sequence[int]) -> bytes:
    """Return a PNG of class ids: skin, cornea, pupil, and a bar for each instrument."""
    mask = np.full((MASK_SIDE * 3 // 4, MASK_SIDE), 5, dtype=np.uint8)
    mask[8:40, 12:52] = 6
    mask[16:32, 24:40] = 0
    for bar, number in enumerate(ids):
        mask[20 + 4 * bar : 22 + 4 * bar, 4:30] = number
    mask[:2, :2] = 255
    return bytes(cv2.imencode(".png", mask)[1].tobytes())
