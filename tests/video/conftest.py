# SPDX-License-Identifier: Apache-2.0
"""Sample videos, each written once a session at its first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from video_samples import SAMPLES


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the function from a name in `SAMPLES` to the path of that video: read it, never change it."""
    folder = tmp_path_factory.mktemp("samples")
    return cache(lambda name: SAMPLES[name](folder / name))
