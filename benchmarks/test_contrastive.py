# SPDX-License-Identifier: Apache-2.0
"""The contrastive losses, forward and backward, beside plain torch eager and compiled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import cases_named

from ophclip.bench import Case, Result


@pytest.mark.parametrize("case", cases_named("loss", "3 levels"))
def test_contrastive(run_case: Callable[[Case], Result], case: Case) -> None:
    assert run_case(case).case == case.name
