# SPDX-License-Identifier: Apache-2.0
"""CaDIS: pictures of 25 CATARACTS videos with masks of class ids; an instrument is there if a pixel is."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ophclip.evaluate.datasets.coco import Picture
from ophclip.evaluate.datasets.media import PICTURE_SUFFIXES, files_under
from ophclip.evaluate.datasets.picture_folders import recording_of
from ophclip.evaluate.datasets.reading import Adapter, Facts, Findings, Published, Reading

NUM_ANATOMY = 7  # ids 0 to 6: pupil, tape, hand, retractors, iris, skin, cornea
IGNORED = 255  # pixels that the annotators left out

FACTS = Facts(
    name="cadis",
    title="CaDIS, instruments",
    task="instruments",
    unit="picture",
    classes=(
        "hydrodissection_cannula",
        "viscoelastic_cannula",
        "capsulorhexis_cystotome",
        "rycroft_cannula",
        "bonn_forceps",
        "primary_knife",
        "phacoemulsifier_handpiece",
        "lens_injector",
        "irrigation_aspiration_handpiece",
        "secondary_knife",
        "micromanipulator",
        "irrigation_aspiration_handpiece_handle",
        "capsulorhexis_forceps",
        "rycroft_cannula_handle",
        "phacoemulsifier_handpiece_handle",
        "capsulorhexis_cystotome_handle",
        "secondary_knife_handle",
        "lens_injector_handle",
        "suture_needle",
        "needle_holder",
        "charleux_cannula",
        "primary_knife_handle",
        "vitrectomy_handpiece",
        "mendez_ring",
        "marker",
        "hydrodissection_cannula_handle",
        "troutman_forceps",
        "cotton",
        "iris_hooks",
    ),
    licence="non-commercial research, on registration",
    where="Grand Challenge: CATARACTS semantic segmentation 2020 (CaDIS)",
    split="official by video: 2, 12 and 22 test, 5, 7 and 16 validation, the others train; test is scored",
    eval_split="test",
    published=(Published("pictures", 4670), Published("videos", 25, "recalled")),
    prompts="cadis.toml",
)

TEST, VALIDATION = frozenset({2, 12, 22}), frozenset({5, 7, 16})
VIDEO = re.compile(r"video_?0*(\d+)", re.IGNORECASE)


def _read(root: Path, findings: Findings, thorough: bool) -> Reading:
    folders: dict[Path, list[Path]] = {}
    for path in files_under(root):
        if path.suffix.lower() in PICTURE_SUFFIXES and path.parent.name.casefold() == "images":
            folders.setdefault(path.parent, []).append(path)
        elif path.suffix.lower() == ".png" and path.parent.name.casefold() == "labels":
            _find_picture(path, findings)
    if not folders:
        findings.error("missing-file", "there must be folders Video<nn>/Images and Video<nn>/Labels", root)
    recordings = []
    for folder, pictures in folders.items():
        match = VIDEO.fullmatch(folder.parent.name)
        if match is None:
            said = f"the folder must be named Video<nn>, got {folder.parent.name!r}"
            findings.error("unknown-video", said, folder)
            continue
        number = int(match[1])
        split = "test" if number in TEST else "val" if number in VALIDATION else "train"
        marked = [Picture(path, _mask_of(path), path.name) for path in pictures]
        _mark(marked, findings)
        recordings.append(recording_of(f"Video{number:02d}", marked, len(FACTS.classes), split))
    return Reading(recordings)


def _mask_of(picture: Path) -> Path:
    return picture.parent.parent / "Labels" / f"{picture.stem}.png"


def _find_picture(mask: Path, findings: Findings) -> None:
    images = mask.parent.parent / "Images"
    if not any((images / f"{mask.stem}{suffix}").is_file() for suffix in PICTURE_SUFFIXES):
        findings.error("missing-file", f"the mask has no picture {images / mask.stem}", mask)


def _mark(pictures: list[Picture], findings: Findings) -> None:
    with ThreadPoolExecutor() as pool:  # OpenCV decodes without the interpreter's lock
        masks = pool.map(_load, [picture.file for picture in pictures])
        for picture, mask in zip(pictures, masks, strict=True):
            if _is_sound(picture.file, mask, findings):
                assert mask is not None
                ids = np.flatnonzero(np.bincount(mask.reshape(-1), minlength=256))
                picture.labels = {int(i) - NUM_ANATOMY for i in ids if NUM_ANATOMY <= i != IGNORED}


def _load(path: Path) -> NDArray[np.uint8] | None:
    import cv2

    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError:
        return None
    # As stored: an index must not be turned into a colour.
    mask = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else np.zeros(0, dtype=np.uint8)
    return np.zeros(0, dtype=np.uint8) if mask is None else np.asarray(mask)


def _is_sound(path: Path, mask: NDArray[np.uint8] | None, findings: Findings) -> bool:
    if mask is None:
        findings.error("missing-file", "the mask is missing", path)
        return False
    if mask.ndim != 2 or mask.dtype != np.uint8:
        what = f"{mask.dtype} {list(mask.shape)}" if mask.size else "no picture"
        said = f"must be a mask of one byte a pixel, got {what}"
        findings.error("unreadable", said, path)
        return False
    strange = (mask >= NUM_ANATOMY + len(FACTS.classes)) & (mask != IGNORED)
    if strange.any():
        row, column = (int(part) for part in np.argwhere(strange)[0])
        said = f"the id must be one of CaDIS's 36, got {mask[row, column]} in column {column + 1}"
        findings.error("unknown-label", said, path, row + 1)
    return not strange.any()


ADAPTER = Adapter(FACTS, _read)
