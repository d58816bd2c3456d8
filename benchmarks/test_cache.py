# SPDX-License-Identifier: Apache-2.0
"""The cache: filling it beside a bare decode loop, reading it beside memmap, Zarr, tensorstore and h5py."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cache_build_cases import building_cases
from cache_read_cases import reading_cases
from conftest import SCALE

from ophclip.bench import Case, Result

FOLDER = Path(tempfile.gettempdir()) / f"ophclip-bench-{os.getpid()}"


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    FOLDER.mkdir()
    yield
    shutil.rmtree(FOLDER)


def named(cases: list[Case]) -> list[Any]:
    return [pytest.param(case, id=case.name) for case in cases]


@pytest.mark.parametrize("case", named(building_cases(FOLDER, is_smoke=SCALE == "smoke")))
def test_build(run_case: Callable[[Case], Result], case: Case) -> None:
    assert run_case(case).case == case.name


@pytest.mark.parametrize("case", named(reading_cases(FOLDER, is_smoke=SCALE == "smoke")))
def test_read(run_case: Callable[[Case], Result], case: Case) -> None:
    assert run_case(case).case == case.name
