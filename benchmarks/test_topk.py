# SPDX-License-Identifier: Apache-2.0
"""Exact inner product search over a packed base, beside faiss in both its modes and plain torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import cases_named

from ophclip.bench import Case, Result


@pytest.mark.parametrize("case", cases_named("top-k", "memory of top-k"))
def test_topk(run_case: Callable[[Case], Result], case: Case) -> None:
    assert run_case(case).case == case.name
