# SPDX-License-Identifier: Apache-2.0
"""Embed folders of pictures into a cache: a row a picture, counted instead of timed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ophclip import console
from ophclip.cache import Encoder
from ophclip.cache.build import provenance_of
from ophclip.cache.commit import CacheWriter
from ophclip.cache.layout import VideoAttributes
from ophclip.cache.location import sha256_of
from ophclip.video import BATCH_SIZE
from ophclip.video.pictures import read_picture

DECODER = "pictures"  # their rows are no video decoder's


def embed_pictures(
    folders: Mapping[str, Sequence[Path]], store: Path, encoder: Encoder, *, fps: float
) -> None:
    """Store one row a picture for each id that is not stored yet, or whose pictures have changed since.

    Raises:
        OphclipError: a picture cannot be read.
        StorageError: the store cannot be written.
    """
    provenance = provenance_of(encoder, fps=fps, decoder=DECODER, decoder_version="1")
    with CacheWriter(store, provenance) as writer, console.progress("embed", len(folders), "folders") as bar:
        for video_id, pictures in folders.items():
            if not _is_current(video_id, pictures, writer):
                _store(video_id, pictures, writer, encoder)
            bar.advance()


def _is_current(video_id: str, pictures: Sequence[Path], writer: CacheWriter) -> bool:
    commit = writer.commits.get(video_id)
    if commit is None or not writer.is_stored(video_id):
        return False
    size, mtime_ns = _stat(pictures)
    if commit.shape[0] != len(pictures) or commit.source_size != size:
        return False
    return commit.source_mtime_ns == mtime_ns or commit.source_sha256 == _hash(pictures)


def _store(video_id: str, pictures: Sequence[Path], writer: CacheWriter, encoder: Encoder) -> None:
    size, mtime_ns = _stat(pictures)
    attributes: VideoAttributes = {
        "video_id": video_id,
        "source_name": pictures[0].parent.name if pictures else "",
        "source_size": size,
        "source_sha256": _hash(pictures),
        "data_sha256": "",
        "decoder": DECODER,
        "time_base": "1",
        "start": "0",
        "pts": list(range(len(pictures))),
        "frame_times_s": [float(number) for number in range(len(pictures))],
    }
    folder = str(pictures[0].parent.absolute()) if pictures else ""
    rows = _rows(pictures, encoder)
    writer.store(video_id, rows, attributes, source_path=folder, source_mtime_ns=mtime_ns)


def _rows(pictures: Sequence[Path], encoder: Encoder) -> Iterator[NDArray[np.generic]]:
    for begin in range(0, len(pictures), BATCH_SIZE):
        batch = pictures[begin : begin + BATCH_SIZE]
        yield encoder(np.stack([read_picture(path, encoder.geometry) for path in batch]))


def _stat(pictures: Sequence[Path]) -> tuple[int, int]:
    """Return the bytes of all pictures, and when the last of them was changed."""
    stats = [path.stat() for path in pictures]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def _hash(pictures: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in pictures:
        digest.update(f"{path.name} {sha256_of(path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
