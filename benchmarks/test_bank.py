# SPDX-License-Identifier: Apache-2.0
"""The silent bank beside a matrix product and torch.topk, and its share of a training step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bank_cases import bank_cases
from conftest import SCALE

from ophclip.bench import Case, Result

CASES = bank_cases(is_smoke=SCALE == "smoke")


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_bank(run_case: Callable[[Case], Result], case: Case) -> None:
    assert run_case(case).case == case.name
