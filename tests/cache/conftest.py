# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cache_corpus import build, frame_rows, write_clip

from ophclip.cache import CacheInput
from ophclip.cache.location import ObjectPath

if TYPE_CHECKING:
    from s3_server import Proxy


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


@pytest.fixture(scope="session")
def server() -> Iterator[int]:
    """The port of a real S3 server on the loopback."""
    from s3_server import s3_server

    with s3_server() as port:
        yield port


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that AWS_ENDPOINT_URL names; requests may take a second."""
    from s3_places import use
    from s3_server import proxy_to

    with proxy_to(server) as proxy:
        use(monkeypatch, proxy.url)
        yield proxy


@pytest.fixture
def place(server: int, monkeypatch: pytest.MonkeyPatch) -> ObjectPath:
    """Where a cache may be made; nothing is in between."""
    from s3_places import new_place, use

    use(monkeypatch, f"http://127.0.0.1:{server}")
    return new_place()
