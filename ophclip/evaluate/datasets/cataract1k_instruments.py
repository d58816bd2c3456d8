# SPDX-License-Identifier: Apache-2.0
"""Cataract-1K instruments: pictures of 30 cases, marked in COCO or, without it, in Supervisely JSON."""

from __future__ import annotations

import re
from pathlib import Path

from ophclip.evaluate.datasets.cat21 import letters
from ophclip.evaluate.datasets.coco import (
    NOT_SCORED,
    Picture,
    Vocabulary,
    coco_pictures,
    is_coco,
    read_json,
    supervisely_labels,
)
from ophclip.evaluate.datasets.media import PICTURE_SUFFIXES, files_under
from ophclip.evaluate.datasets.picture_folders import pictures_by_name, recording_of
from ophclip.evaluate.datasets.reading import Adapter, Facts, Findings, Published, Reading

FACTS = Facts(
    name="cataract1k-instruments",
    title="Cataract-1K, instruments",
    task="instruments",
    unit="picture",
    classes=(
        "slit_incision_knife",
        "gauge",
        "spatula",
        "capsulorhexis_cystotome",
        "phacoemulsification_tip",
        "irrigation_aspiration",
        "lens_injector",
        "capsulorhexis_forceps",
        "katena_forceps",
    ),
    licence="CC BY 4.0",
    where="Synapse: syn53395479 (Cataract-1K, semantic segmentation)",
    split="none in the download: all pictures are scored; the authors' five folds are by patient",
    published=(Published("pictures", 2256), Published("videos", 30)),
    prompts="cataract1k_instruments.toml",
)

# The files mark two knives, which the publication counts as one instrument, and the anatomy around them.
SPELLINGS = {"slitknife": "slit_incision_knife", "incisionknife": "slit_incision_knife"}
ANATOMY = ("cornea", "cornea1", "iris", "pupil", "pupil1", "lens", "lense", "intraocularlens")
VOCABULARY = Vocabulary(
    "Cataract-1K's",
    {letters(name): index for index, name in enumerate(FACTS.classes)}
    | {name: FACTS.classes.index(key) for name, key in SPELLINGS.items()}
    | {"phacoemulsifiertip": FACTS.classes.index("phacoemulsification_tip")}
    | {"katanaforceps": FACTS.classes.index("katena_forceps")}
    | dict.fromkeys(ANATOMY, NOT_SCORED),
)
CASE = re.compile(r"case_?(\d+)", re.IGNORECASE)


def _read(root: Path, findings: Findings, thorough: bool) -> Reading:
    pictures = _from_coco(root, findings) or _from_supervisely(root, findings)
    if not pictures and not findings.found:
        findings.error("missing-file", "there must be COCO files, or case folders with img/ and ann/", root)
    cases: dict[str, list[Picture]] = {}
    for picture in pictures:
        cases.setdefault(_case(picture, root, findings), []).append(picture)
    found = [recording_of(case, cases[case], len(FACTS.classes)) for case in sorted(cases) if case]
    return Reading(found)


def _from_coco(root: Path, findings: Findings) -> list[Picture]:
    by_name = pictures_by_name(root)
    pictures: list[Picture] = []
    for path in files_under(root):
        if path.suffix.lower() == ".json" and path.parent.name != "ann" and path.name != "meta.json":
            text, content = read_json(path, findings)
            if is_coco(content):
                pictures += coco_pictures(path, text, content, by_name, VOCABULARY, findings)
    _find_twice(pictures, findings)
    return pictures


def _from_supervisely(root: Path, findings: Findings) -> list[Picture]:
    pictures: list[Picture] = []
    for path in files_under(root):
        if path.suffix.lower() in PICTURE_SUFFIXES and path.parent.name == "img":
            marked = path.parent.parent / "ann" / f"{path.name}.json"
            labels = supervisely_labels(marked, VOCABULARY, findings)
            pictures.append(Picture(path, marked, path.name, labels))
        elif path.suffix.lower() == ".json" and path.parent.name == "ann":
            picture = path.parent.parent / "img" / path.name.removesuffix(".json")
            if not picture.is_file():
                findings.error("missing-file", f"the picture {picture} is missing", path)
    return pictures


def _find_twice(pictures: list[Picture], findings: Findings) -> None:
    seen: dict[Path, Picture] = {}
    for picture in pictures:
        first = seen.setdefault(picture.path, picture)
        if first is not picture:
            said = f"the picture {picture.path.name} is marked in {first.file.name} too"
            findings.error("duplicate", said, picture.file, picture.line())


def _case(picture: Picture, root: Path, findings: Findings) -> str:
    """Return the case of a picture, from its name (`case5013_01.png`) or its folder (`case_5013`)."""
    parts = (picture.path.name, *reversed(picture.path.relative_to(root).parts[:-1]))
    match = next((match for part in parts if (match := CASE.search(part))), None)
    if match is None:
        said = f"the picture {picture.path.name} must name its case, as in case5013_01.png"
        findings.error("unknown-video", said, picture.file, picture.line())
        return ""
    return f"case_{match[1]}"


ADAPTER = Adapter(FACTS, _read)
