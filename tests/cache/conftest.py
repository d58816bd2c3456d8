# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from cache_corpus import build, frame_rows, write_clip

from ophclip.cache import CacheInput


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[CacheInput]:
    """Four videos of three to six seconds."""
    folder = tmp_path_factory.mktemp("clips")
    return [
        CacheInput(f"v{number}", write_clip(folder / f"v{number}.mp4", number, 3 + number))
        for number in range(4)
    ]


@pytest.fixture(scope="session")
def built(clips: list[CacheInput], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The feature cache of `clips`, built without an interruption. Read only."""
    path = tmp_path_factory.mktemp("built") / "features.zarr"
    build(clips, path)
    return path


@pytest.fixture(scope="session")
def built_frames(clips: list[CacheInput], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frames cache of `clips`. Read only."""
    path = tmp_path_factory.mktemp("built") / "frames.zarr"
    build(clips, path, encoder=frame_rows())
    return path
