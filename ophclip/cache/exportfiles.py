# SPDX-License-Identifier: Apache-2.0
"""The files of an export: one video as npy and JSON, or as safetensors; many as a tar for webdataset."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ophclip.cache.layout import folder_name
from ophclip.cache.pack import checked_blocks
from ophclip.cache.store import FeatureCache
from ophclip.files import replace_file, replacement

BUFFER_BYTES = 1 << 20


def file_stem(video_id: str) -> str:
    """Return the name of a video's files: its folder in the cache, without dots, which end a key."""
    return folder_name(video_id).replace(".", "%2E")


def description(cache: FeatureCache, video_id: str) -> dict[str, Any]:
    """Return what goes beside the rows: the attributes of the video, times included, and the provenance."""
    return {**cache.attributes(video_id), "provenance": cache.provenance}


def write_npy(cache: FeatureCache, video_id: str, folder: Path) -> None:
    """Write `<stem>.npy`, the rows, and then `<stem>.json`, which says that they are complete."""
    stem, beside = file_stem(video_id), description(cache, video_id)
    (folder / f"{stem}.json").unlink(missing_ok=True)
    with replacement(folder / f"{stem}.npy") as temporary, temporary.open("xb") as file:
        _write_rows(cache, video_id, beside["data_sha256"], file)
    replace_file(folder / f"{stem}.json", _to_json(beside))


def is_current_npy(cache: FeatureCache, video_id: str, folder: Path) -> bool:
    """Return whether both files are there and belong to what the cache holds."""
    rows, beside = (folder / f"{file_stem(video_id)}{suffix}" for suffix in (".npy", ".json"))
    if not beside.exists() or not rows.exists() or rows.stat().st_size != _npy_size(cache, video_id):
        return False
    return beside.read_bytes() == _to_json(description(cache, video_id))


def write_safetensors(cache: FeatureCache, video_id: str, folder: Path) -> None:
    """Write `<stem>.safetensors`: rows, times_s and pts, and the rest as JSON in its metadata."""
    from safetensors.numpy import save

    beside = description(cache, video_id)
    rows, at = np.empty((cache.num_frames(video_id), *cache.row_shape), cache.dtype), 0
    for block in checked_blocks(cache, video_id, beside["data_sha256"]):
        rows[at : at + len(block)] = block
        at += len(block)
    tensors = {
        "rows": rows,
        "times_s": np.array(beside.pop("frame_times_s"), np.float64),
        "pts": np.array(beside.pop("pts"), np.int64),
    }
    data = save(tensors, metadata=_metadata(beside))
    replace_file(folder / f"{file_stem(video_id)}.safetensors", data)


def is_current_safetensors(cache: FeatureCache, video_id: str, folder: Path) -> bool:
    """Return whether the file is there and belongs to what the cache holds."""
    from safetensors import SafetensorError, safe_open

    path = folder / f"{file_stem(video_id)}.safetensors"
    if not path.exists():
        return False
    beside = description(cache, video_id)
    del beside["frame_times_s"], beside["pts"]
    try:
        with safe_open(path, framework="numpy") as file:
            return bool(file.metadata() == _metadata(beside))
    except SafetensorError:
        return False


def write_tar(cache: FeatureCache, ids: Iterable[str], path: Path) -> None:
    """Write a tar of `<stem>.json` and `<stem>.npy` of each video, the same bytes each time."""
    with replacement(path) as temporary, tarfile.open(temporary, "x", format=tarfile.PAX_FORMAT) as tar:
        for video_id in ids:
            beside = description(cache, video_id)
            stem, text = file_stem(video_id), _to_json(beside)
            tar.addfile(_member(f"{stem}.json", len(text)), io.BytesIO(text))
            rows = checked_blocks(cache, video_id, beside["data_sha256"])
            joined = io.BufferedReader(_Joined(_npy_header(cache, video_id), rows), BUFFER_BYTES)
            tar.addfile(_member(f"{stem}.npy", _npy_size(cache, video_id)), joined)
            next(rows, None)  # the check at their end


class _Joined(io.RawIOBase):
    """A readable file of a header and the rows that follow it: `tarfile` asks for some KiB at a time."""

    def __init__(self, header: bytes, rows: Iterator[np.ndarray[Any, Any]]) -> None:
        self._rest, self._rows = memoryview(header), rows

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not len(self._rest):
            rows = next(self._rows, None)
            if rows is None:
                return 0
            self._rest = rows.reshape(-1).view(np.uint8).data
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


def _write_rows(cache: FeatureCache, video_id: str, sha256: str, file: IO[bytes]) -> None:
    file.write(_npy_header(cache, video_id))
    for rows in checked_blocks(cache, video_id, sha256):
        file.write(rows.reshape(-1).view(np.uint8).data)


def _npy_header(cache: FeatureCache, video_id: str) -> bytes:
    header = io.BytesIO()
    shape = (cache.num_frames(video_id), *cache.row_shape)
    described = {"descr": cache.dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def _npy_size(cache: FeatureCache, video_id: str) -> int:
    return len(_npy_header(cache, video_id)) + cache.num_frames(video_id) * cache.row_bytes


def _metadata(beside: dict[str, Any]) -> dict[str, str]:
    return {"description": json.dumps(beside)}  # one key: safetensors writes several in any order


def _to_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False).encode() + b"\n"
