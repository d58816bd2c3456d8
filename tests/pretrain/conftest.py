# SPDX-License-Identifier: Apache-2.0
"""A corpus that a small network learns in seconds: moving shapes, named in narrations and titles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ophclip.cache import CacheInput, FrameRows, build_cache
from ophclip.corpus import Clip, Corpus, Video, write_corpus
from ophclip.models import load_encoder
from ophclip.video import Geometry, write_video

SIDE, FPS, SECONDS = 32, 4, 8
SHAPES = {"disc": (200, 60, 60), "bar": (60, 200, 60), "ring": (60, 60, 200), "cross": (220, 220, 60)}


def draw(shape: str, frame: int) -> NDArray[np.uint8]:
    image = np.full((SIDE, SIDE, 3), 40, dtype=np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    centre = 10 + frame % 12
    radius = np.hypot(y - 16, x - centre)
    mask = {
        "disc": radius < 7,
        "ring": (radius > 5) & (radius < 9),
        "bar": abs(x - centre) < 3,
        "cross": (abs(x - centre) < 2) | (abs(y - 16) < 2),
    }[shape]
    image[mask] = SHAPES[shape]
    return image


def frames_of(first: str, second: str) -> Iterator[NDArray[np.uint8]]:
    half = FPS * SECONDS // 2
    for frame in range(2 * half):
        yield draw(first if frame < half else second, frame)


@pytest.fixture(scope="session")
def shapes_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Twelve narrated and six silent training videos, each a first and a second shape."""
    root = tmp_path_factory.mktemp("shapes")
    names = list(SHAPES)
    videos: dict[str, Video] = {}
    clips: list[Clip] = []
    for number in range(18):
        first, second = names[number % 4], names[(number + 1 + number // 4) % 4]
        video_id, kind = f"v{number:02d}", "narrated" if number < 12 else "silent"
        path = root / "videos" / f"{video_id}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, frames_of(first, second), FPS)
        title = f"case {number}: a {first} and then a {second}"
        videos[video_id] = Video(video_id, path, kind, title, title, "train")
        if kind == "narrated":
            half = SECONDS / 2
            clips.append(Clip(f"{video_id}-0", video_id, 0.0, half, f"here we see the {first} move {number}"))
            clips.append(Clip(f"{video_id}-1", video_id, half, SECONDS, f"now the {second} again {number}"))
    corpus = Corpus(root, videos, clips)
    write_corpus(corpus, root)
    return corpus


def inputs_of(corpus: Corpus) -> list[CacheInput]:
    return [CacheInput(video.video_id, video.path) for video in corpus.videos.values()]


@pytest.fixture(scope="session")
def frames_cache(shapes_corpus: Corpus) -> Path:
    out = shapes_corpus.root / "frames.zarr"
    build_cache(inputs_of(shapes_corpus), out, encoder=FrameRows(Geometry(SIDE, SIDE)), fps=2)
    return out


@pytest.fixture(scope="session")
def features_cache(shapes_corpus: Corpus) -> Path:
    out = shapes_corpus.root / "features.zarr"
    build_cache(inputs_of(shapes_corpus), out, encoder=load_encoder("tiny"), fps=2)
    return out
