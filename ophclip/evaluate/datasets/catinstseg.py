# SPDX-License-Identifier: Apache-2.0
"""CatInstSeg (InSegCat): two sets of pictures in COCO, one of Cataract-101 and one made from CaDIS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ophclip.evaluate.datasets.cat21 import letters
from ophclip.evaluate.datasets.clips import SPLITS
from ophclip.evaluate.datasets.coco import Picture, Vocabulary, coco_pictures, is_coco, read_json
from ophclip.evaluate.datasets.media import files_under
from ophclip.evaluate.datasets.picture_folders import pictures_by_name, recording_of
from ophclip.evaluate.datasets.reading import Adapter, Facts, Findings, Published, Reading

LICENCE = "CC BY-NC 4.0"
WHERE = "ITEC, University of Klagenfurt: datasets/ovid/InSegCat"
SPLIT = "training, validation and test by the names of the COCO files or their folders; test is scored"

FACTS = Facts(
    name="catinstseg",
    title="CatInstSeg, set 1 (pictures of Cataract-101)",
    task="instruments",
    unit="picture",
    classes=(
        "slit_knife",
        "angled_incision_knife",
        "katena_forceps",
        "gauge_27_cannula",
        "capsulorhexis_forceps",
        "cannula",
        "phaco_tip",
        "spatula",
        "irrigation_aspiration_handpiece",
        "cartridge",
        "eye_retractors",
    ),
    licence=LICENCE,
    where=f"{WHERE}, dataset 1",
    split=SPLIT,
    eval_split="test",
    published=(Published("pictures", 843),),
    prompts="catinstseg.toml",
)

FACTS_FROM_CADIS = Facts(
    name="catinstseg-cadis",
    title="CatInstSeg, set 2 (made from CaDIS)",
    task="instruments",
    unit="picture",
    classes=(
        "irrigation_aspiration_handpiece",
        "bonn_forceps",
        "capsulorhexis_cystotome",
        "capsulorhexis_forceps",
        "charleux_cannula",
        "hydrodissection_cannula",
        "lens_injector",
        "micromanipulator",
        "phacoemulsifier_handpiece",
        "primary_knife",
        "rycroft_cannula",
        "secondary_knife",
        "suture_needle",
        "viscoelastic_cannula",
        "vitrectomy_handpiece",
    ),
    licence=LICENCE,
    where=f"{WHERE}, dataset 2",
    split=SPLIT,
    eval_split="test",
    published=(Published("pictures", 4738),),
    prompts="catinstseg.toml",
)

# The files abbreviate, and number the classes of set 1 as its page does.
SPELLINGS = {
    "gaugecannula": "gauge_27_cannula",
    "27gaugecannula": "gauge_27_cannula",
    "iahandpiece": "irrigation_aspiration_handpiece",
    "aihandpiece": "irrigation_aspiration_handpiece",
    "capcystotome": "capsulorhexis_cystotome",
    "capforceps": "capsulorhexis_forceps",
    "hydrocannula": "hydrodissection_cannula",
    "phacohandpiece": "phacoemulsifier_handpiece",
    "viscocannula": "viscoelastic_cannula",
    "viterhandpiece": "vitrectomy_handpiece",
    "viterectomyhandpiece": "vitrectomy_handpiece",
}
PAGE_NUMBERS = ("i1", "i2", "i3", "i7", "i8", "i9", "i10", "i11", "i12", "i16", "i20")


def _vocabulary(facts: Facts, numbers: tuple[str, ...]) -> Vocabulary:
    labels = {letters(name): index for index, name in enumerate(facts.classes)}
    labels |= {name: facts.classes.index(key) for name, key in SPELLINGS.items() if key in facts.classes}
    return Vocabulary(f"{facts.name}'s", labels | {name: index for index, name in enumerate(numbers)})


def _reader(facts: Facts, vocabulary: Vocabulary) -> Callable[[Path, Findings, bool], Reading]:
    def read(root: Path, findings: Findings, thorough: bool) -> Reading:
        by_name = pictures_by_name(root)
        splits: dict[str, list[Picture]] = {}
        for path in files_under(root):
            if path.suffix.lower() != ".json":
                continue
            text, content = read_json(path, findings)
            if is_coco(content):
                pictures = coco_pictures(path, text, content, by_name, vocabulary, findings)
                splits.setdefault(_split(path, root, findings), []).extend(pictures)
        if not splits and not findings.found:
            findings.error("missing-file", "there must be a COCO file for each split", root)
        # The pictures do not tell their video: a split is one recording.
        return Reading(
            [
                recording_of(f"pictures-{split}", pictures, len(facts.classes), split)
                for split, pictures in sorted(splits.items())
                if pictures and split
            ]
        )

    return read


def _split(path: Path, root: Path, findings: Findings) -> str:
    names = [letters(name) for name in (path.stem, *reversed(path.relative_to(root).parent.parts))]
    for name in names:
        for start, split in SPLITS.items():
            if name.startswith(start) or name.endswith(start):
                return split
    said = "its name or a folder of it must name a split, as in test/annotations.json"
    findings.error("unknown-split", said, path, 1)
    return ""


ADAPTER = Adapter(FACTS, _reader(FACTS, _vocabulary(FACTS, PAGE_NUMBERS)))
FROM_CADIS = Adapter(FACTS_FROM_CADIS, _reader(FACTS_FROM_CADIS, _vocabulary(FACTS_FROM_CADIS, ())))
