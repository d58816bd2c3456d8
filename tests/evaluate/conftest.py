# SPDX-License-Identifier: Apache-2.0
"""Simulated downloads: three operations of 16 seconds in each dataset's layout, drawn once a session."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from layout_folders import Layout

from ophclip.corpus.simulate.layouts import write_layout
from ophclip.corpus.simulate.layouts.write import _cast
from ophclip.corpus.simulate.production import Script, write_script

VIDEOS, SECONDS, SEED = 3, 16, 50


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Give the folder of a layout; tests only read it."""
    root = tmp_path_factory.mktemp("layouts")

    def folder(name: str) -> Path:
        if not (root / name).is_dir():
            write_layout(name, root / name, videos=VIDEOS, seconds=SECONDS, size=64, seed=SEED, workers=1)
        return root / name

    return folder


@pytest.fixture
def own_layout(layout: Layout, tmp_path: Path) -> Layout:
    """Give a copy of a layout that a test may spoil."""
    return lambda name: Path(shutil.copytree(layout(name), tmp_path / name))


@pytest.fixture(scope="session")
def scripts() -> Callable[[str], list[Script]]:
    """Give the truth of a layout: what happens in its operations."""
    return lambda name: [write_script(part, float(SECONDS)) for part in _cast(name, VIDEOS, SEED)]
