# SPDX-License-Identifier: Apache-2.0
"""Everything of a packed cache but the rows: ids, offsets, times, hashes and attributes."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ophclip.cache.journal import COMMITS
from ophclip.cache.layout import JOURNAL, METADATA, group_metadata
from ophclip.cache.packed import PACKED_VERSION
from ophclip.cache.sharded import Grid, bytes_codec, zarr_metadata
from ophclip.cache.shardwriter import ShardWriter
from ophclip.cache.store import FeatureCache
from ophclip.errors import DamageError
from ophclip.files import replace_file

TABLE = f"{COMMITS}-packed.jsonl"


def write_tables(cache: FeatureCache, folder: Path, grid: Grid) -> tuple[str, list[bytes]]:
    """Write the tables of `cache` into `folder`.

    Returns:
        A digest of what is packed, and the SHA-256 of the rows of each video, in the order of the ids.

    Raises:
        DamageError: what is stored beside a video's rows does not belong to them.
    """
    num_rows = grid.shape[0]
    digest = hashlib.sha256(plan_head(cache.provenance, grid))
    hashes: list[bytes] = []
    ends: list[int] = [0]
    with ExitStack() as stack:
        table = stack.enter_context((folder / JOURNAL / TABLE).open("wb"))
        texts = stack.enter_context(_chunk(folder / "attributes").open("wb"))
        pts, times = (
            stack.enter_context(_remade(folder / name, Grid((num_rows,), dtype)))
            for name, dtype in (("pts", "int64"), ("times", "float64"))
        )
        for number, video_id in enumerate(cache.ids):
            attributes = cache.attributes(video_id)
            pts.write(_column(cache, video_id, attributes.pop("pts"), "<i8"))
            times.write(_column(cache, video_id, attributes.pop("frame_times_s"), "<f8"))
            line, text = journal_line(cache, video_id, number), to_json(attributes)
            hashes.append(_sha256(cache, video_id, attributes))
            table.write(line)
            ends.append(ends[-1] + texts.write(text))
            digest.update(line + text)
        pts.publish()
        times.publish()
    _write_flat(cache.ids, ends, hashes, cache, folder)
    return digest.hexdigest(), hashes


def plan_head(provenance: dict[str, Any], grid: Grid) -> bytes:
    """Return what the digest of a packed cache begins with; journal line and text of each video follow."""
    return to_json(provenance) + to_json(grid.metadata())


def journal_line(cache: FeatureCache, video_id: str, number: int) -> bytes:
    """Return the journal line of a packed video, the `number`-th."""
    return to_json(cache.entry(video_id)._asdict() | {"time_ns": number})


def write_root(cache: FeatureCache, folder: Path, grid: Grid) -> None:
    """Write the metadata of the group, which makes it a packed cache."""
    write_metadata(folder / "rows", grid.metadata())
    replace_file(folder / JOURNAL / METADATA, group_metadata({}))  # else Zarr wonders what the folder is
    replace_file(folder / METADATA, root_metadata(cache, grid))


def root_metadata(cache: FeatureCache, grid: Grid) -> bytes:
    """Return the `zarr.json` of the group."""
    root = {
        "packed_version": PACKED_VERSION,
        "provenance": cache.provenance,
        "num_videos": len(cache),
        "num_rows": grid.shape[0],
        "shard_rows": grid.shard_rows,
        "chunk_rows": grid.chunk_rows,
    }
    return group_metadata(root)


def write_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    """Write the `zarr.json` of an array."""
    folder.mkdir(exist_ok=True)
    replace_file(folder / METADATA, to_json(metadata))


def _write_flat(
    ids: list[str], ends: list[int], hashes: list[bytes], cache: FeatureCache, folder: Path
) -> None:
    for name, (metadata, data) in flat_arrays(cache, ids, ends, hashes).items():
        write_metadata(folder / name, metadata)
        if data:
            _chunk(folder / name, len(metadata["shape"])).write_bytes(data)
    write_metadata(folder / "attributes", texts_metadata(ends[-1]))


def flat_arrays(
    cache: FeatureCache, ids: list[str], ends: list[int], hashes: list[bytes]
) -> dict[str, tuple[dict[str, Any], bytes]]:
    """Return the metadata and the one chunk of each array that finds videos; no videos have no chunk."""
    counts = [0, *(cache.num_frames(video_id) for video_id in ids)]
    offsets, text_offsets = np.cumsum(counts, dtype="<i8"), np.array(ends, "<i8")
    return {
        "offsets": (_flat_metadata((len(counts),), "int64"), offsets.tobytes()),
        "attribute_offsets": (_flat_metadata((len(ends),), "int64"), text_offsets.tobytes()),
        "hashes": (_flat_metadata((len(ids), 32), "uint8"), b"".join(hashes)),
        "ids": (_flat_metadata((len(ids),), "string"), _strings(ids) if ids else b""),
    }


def texts_metadata(num_bytes: int) -> dict[str, Any]:
    """Return the metadata of the array of attribute texts."""
    return _flat_metadata((num_bytes,), "uint8")


def _flat_metadata(shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """Return the metadata of an array of one chunk."""
    codec = {"name": "vlen-utf8"} if dtype == "string" else bytes_codec(dtype)
    return zarr_metadata(shape, [max(1, shape[0]), *shape[1:]], dtype, codec)


def _chunk(folder: Path, num_dimensions: int = 1) -> Path:
    path = folder.joinpath("c", *("0" * num_dimensions))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _remade(folder: Path, grid: Grid) -> ShardWriter:
    shutil.rmtree(folder, ignore_errors=True)  # cheap to write again; what is there may be of other videos
    write_metadata(folder, grid.metadata())
    return ShardWriter(folder, grid)


def _column(cache: FeatureCache, video_id: str, values: list[Any], dtype: str) -> memoryview:
    if len(values) != cache.num_frames(video_id):
        raise DamageError(
            f"video {video_id!r}: {cache.num_frames(video_id)} rows, but {len(values)} times",
            remedy=cache.MENDING,
        )
    return np.array(values, dtype=dtype).view(np.uint8).data


def _sha256(cache: FeatureCache, video_id: str, attributes: dict[str, Any]) -> bytes:
    try:
        digest = bytes.fromhex(attributes["data_sha256"])
    except (KeyError, TypeError, ValueError):
        digest = b""
    if len(digest) != 32:
        raise DamageError(f"video {video_id!r} has no checksum of its rows", remedy=cache.MENDING)
    return digest


def _strings(texts: list[str]) -> bytes:
    """Encode as Zarr's vlen-utf8: how many, then length and bytes of each."""
    encoded = [text.encode("utf-8", "backslashreplace") for text in texts]
    parts = (struct.pack("<I", len(text)) + text for text in encoded)
    return struct.pack("<I", len(encoded)) + b"".join(parts)


def to_json(document: Any) -> bytes:
    """Return a document as a packed cache has it."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"
