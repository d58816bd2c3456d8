# SPDX-License-Identifier: Apache-2.0
"""What every test shares: the rule for GPU tests, and one torch thread setting."""

from __future__ import annotations

import os

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available() or os.environ.get("OPHCLIP_REQUIRE_GPU") == "1":
        return  # where a GPU is required, a missing one must fail, not skip
    skip = pytest.mark.skip(reason="no CUDA device; OPHCLIP_REQUIRE_GPU=1 turns this into a failure")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
