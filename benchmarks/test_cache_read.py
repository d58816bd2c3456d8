# SPDX-License-Identifier: Apache-2.0
"""Batches of clips beside np.memmap, Zarr's own API, tensorstore and h5py; opening 50,000 videos."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cache_read_cases import reading_cases
from conftest import SCALE

from ophclip.bench import Case, Result

FOLDER = Path(tempfile.gettempdir()) / "ophclip-bench-cache"
CASES = reading_cases(FOLDER, is_smoke=SCALE == "smoke")


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    yield
    shutil.rmtree(FOLDER)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_cache_read(run_case: Callable[[Case], Result], case: Case) -> None:
    assert run_case(case).case == case.name
