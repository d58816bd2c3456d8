# SPDX-License-Identifier: Apache-2.0
"""The format on disk: a Zarr v3 group of one uncompressed single-chunk array a video, and a journal.

C.zarr/zarr.json                      attributes: format_version, provenance
C.zarr/videos/<folder>/zarr.json      [T, *row_shape], codecs = [bytes]; attributes: see `VideoAttributes`
C.zarr/videos/<folder>/c/0/0          the raw little-endian rows, one "/0" a dimension: memory-mapped
C.zarr/_journal/commits-<writer>.jsonl, failed-<writer>.jsonl
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, TypedDict
from urllib.parse import quote

import numpy as np

from ophclip.cache.location import AnyLocation, Location
from ophclip.errors import DamageError, UsageError

FORMAT_VERSION = 1
VIDEOS = "videos"
JOURNAL = "_journal"
METADATA = "zarr.json"
TEMPORARY_PREFIX = ".tmp-"
MAX_FOLDER_LENGTH = 150  # file systems stop at 255 bytes; a temporary name is longer than a final one

DTYPES: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "uint8": np.dtype("u1")}


class VideoAttributes(TypedDict):
    """What is stored beside the rows of one video."""

    video_id: str
    source_name: str
    source_size: int  # bytes
    source_sha256: str
    data_sha256: str  # of the raw rows
    decoder: str
    time_base: str  # seconds a tick, as a fraction
    start: str  # seconds on the container's clock that the frame times count from, as a fraction
    pts: list[int]  # ticks, one a row
    frame_times_s: list[float]  # one a row


def folder_name(video_id: str) -> str:
    """Return the folder of a video id: itself where that is safe in a path, percent-encoded otherwise.

    Distinct ids have distinct folders. A long name is cut and ends in "+" and a hash; `quote` gives no "+".
    """
    name = quote(video_id, safe="", errors="surrogatepass") or "%"
    if name[0] in "._" or name == METADATA:
        name = f"%{ord(name[0]):02X}{name[1:]}"  # hidden, temporary, or reserved by Zarr
    if len(name) > MAX_FOLDER_LENGTH:
        digest = hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        name = f"{name[: MAX_FOLDER_LENGTH - 33]}+{digest}"
    return name


def chunk_name(num_dimensions: int) -> str:
    """Return the name of the one chunk of an array, below its folder."""
    return "c" + "/0" * num_dimensions


def chunk_path(folder: AnyLocation, num_dimensions: int) -> AnyLocation:
    """Return where the one chunk of an array lies."""
    return folder / chunk_name(num_dimensions)


def group_metadata(attributes: dict[str, Any]) -> bytes:
    """Return the `zarr.json` of a group."""
    return _to_json({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def array_metadata(shape: tuple[int, ...], dtype: str, attributes: VideoAttributes) -> bytes:
    """Return the `zarr.json` of an array stored as one uncompressed little-endian chunk."""
    # One byte has no order: Zarr writes the codec of single-byte types without it.
    codec = {"name": "bytes"} | ({} if dtype == "uint8" else {"configuration": {"endian": "little"}})
    return _to_json(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(shape),
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shape)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0 if dtype == "uint8" else 0.0,
            "codecs": [codec],
            "attributes": attributes,
        }
    )


def num_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Return the size of an array's chunk."""
    return math.prod(shape) * DTYPES[dtype].itemsize


def read_root(path: Location) -> dict[str, Any]:
    """Return the provenance of the cache at `path`.

    Raises:
        UsageError: there is no cache of ours, or its format is newer than this program.
        DamageError: the metadata cannot be read.
    """
    if not (path / METADATA).is_file():
        raise UsageError(f"no cache at {path}", remedy="build one: ophclip cache build VIDEOS --out C.zarr")
    attributes = read_metadata(path)["attributes"]
    if "packed_version" in attributes:
        raise UsageError(
            f"{path} is a packed cache, which is only read",
            remedy="write into the cache that it was packed from, and pack that again",
        )
    version = attributes.get("format_version")
    if version is None or not isinstance(attributes.get("provenance"), dict):
        raise UsageError(
            f"{path} is a Zarr group, but not an ophclip cache", remedy="name a folder made by cache build"
        )
    if version != FORMAT_VERSION:
        raise UsageError(
            f"{path}: the format must be {FORMAT_VERSION}, got {version}", remedy="upgrade ophclip"
        )
    return dict(attributes["provenance"])


def read_metadata(folder: Location) -> dict[str, Any]:
    """Return the `zarr.json` of a group or an array.

    Raises:
        DamageError: it is missing or no Zarr v3 metadata.
    """
    path = folder / METADATA
    try:
        metadata = json.loads(path.read_bytes())
        if metadata["zarr_format"] == 3 and isinstance(metadata.setdefault("attributes", {}), dict):
            return dict(metadata)
        reason = "not Zarr v3 metadata"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"cannot be read: {error}"
    raise DamageError(f"{path}: {reason}", remedy=f"remove {folder} and run the same cache build again")


def _to_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"
