# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ophclip.corpus.simulate.vocabulary import PROCEDURES

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("contact_sheet", DOCS / "contact_sheet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sheet(script: ModuleType) -> NDArray[np.uint8]:
    drawn: NDArray[np.uint8] = script.contact_sheet()
    return drawn


def test_the_sheet_has_a_row_for_each_procedure_whose_pictures_differ(
    script: ModuleType, sheet: NDArray[np.uint8]
) -> None:
    assert sheet.dtype == np.uint8
    for row in np.split(sheet, len(PROCEDURES)):
        pictures = np.split(row[script.HEADING :][: script.HEIGHT, script.GAP :], script.COLUMNS, axis=1)
        for picture, following in itertools.pairwise(pictures):
            assert cv2.absdiff(picture, following).mean() > 3


def test_the_picture_in_the_documents_is_that_sheet(sheet: NDArray[np.uint8]) -> None:
    stored = cv2.imread(str(DOCS / "simulator.jpg"))
    assert stored is not None
    assert stored.shape == sheet.shape
    assert (DOCS / "simulator.jpg").stat().st_size < 300_000
    assert cv2.absdiff(stored[..., ::-1], sheet).mean() < 8
