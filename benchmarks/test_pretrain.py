# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import SCALE
from pretrain_cases import pretrain_cases

from ophclip.bench import Case, Result

FOLDER = Path(tempfile.gettempdir()) / f"ophclip-bench-pretrain-{os.getpid()}"
CASES = pretrain_cases(FOLDER, is_smoke=SCALE == "smoke")


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    yield
    shutil.rmtree(FOLDER)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_pretrain(run_case: Callable[[Case], Result], case: Case) -> None:
    assert run_case(case).case == case.name
