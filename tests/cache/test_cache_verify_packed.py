# SPDX-License-Identifier: Apache-2.0
"""A packed cache is verified as the one that it was packed from, and has its content hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zarr
from cache_corpus import Statistics, random_rows, write_cache

from ophclip.cache import open_cache, pack_cache
from ophclip.cache.content import content_hash
from ophclip.cache.repair import repair_cache
from ophclip.cache.verify import verify_cache
from ophclip.errors import DamageError, UsageError

VIDEOS = {name: random_rows(number, 40 + number) for number, name in enumerate("abcd")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    cache = write_cache(tmp_path / "c.zarr", VIDEOS)
    pack_cache(open_cache(cache), tmp_path / "p.zarr")
    return tmp_path / "p.zarr"


def test_a_packed_cache_is_whole_and_has_the_content_hash_of_its_source(path: Path) -> None:
    report = verify_cache(path)
    assert (report.videos, report.findings) == (4, [])
    assert report.num_bytes == sum(rows.nbytes for rows in VIDEOS.values())
    assert report.content_hash == content_hash(open_cache(path.parent / "c.zarr"))
    assert content_hash(open_cache(path)) == report.content_hash


def test_frames_of_a_packed_cache_are_decoded_anew(built: Path, tmp_path: Path) -> None:
    pack_cache(open_cache(built), tmp_path / "p.zarr")
    report = verify_cache(tmp_path / "p.zarr", sample=1, encoder=Statistics())
    assert (report.findings, report.unchecked) == ([], {})
    assert report.frames_decoded > 20


def flip(file: Path, byte: int) -> None:
    data = bytearray(file.read_bytes())
    data[byte] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "find", "damaged"),
    [
        ("rows/c/0/0", VIDEOS["b"].tobytes(), ["b"]),
        ("times/c/0", np.arange(41, dtype="<f8").tobytes(), ["b"]),
        ("pts/c/0", (1000 * np.arange(41)).astype("<i8").tobytes(), ["b"]),
        ("attributes/c/0", b'"decoder":"none"', ["a"]),
        ("offsets/c/0", np.array([0, 40], "<i8").tobytes(), []),
        ("hashes/c/0/0", b"", []),
    ],
)
def test_a_flipped_bit_is_found(name: str, find: bytes, damaged: list[str], path: Path) -> None:
    begin = (path / name).read_bytes().index(find)
    flip(path / name, begin + len(find) - 4 if find else 3)
    report = verify_cache(path)
    assert report.damaged == damaged
    assert report.findings
    assert report.remedy.startswith("pack it again")
    assert report.content_hash == ""


CHUNKS = 65_536 // 256  # inner, of which all rows are in the first


@pytest.mark.parametrize(("name", "row_bytes"), [("rows/c/0/0", 12), ("times/c/0", 8), ("pts/c/0", 8)])
@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("filling", "filled up with zeros"),
        ("offset", "offsets and lengths"),
        ("length", "offsets and lengths"),
        ("absent", "offsets and lengths"),
        ("checksum", "checksum"),
    ],
)
def test_a_flip_behind_the_rows_of_a_shard_is_found_where_zarr_would_stumble(
    name: str, row_bytes: int, place: str, says: str, path: Path
) -> None:
    index = 256 * row_bytes
    assert (path / name).stat().st_size == index + 16 * CHUNKS + 4
    places = {"filling": index - 1, "offset": index, "length": index + 9, "absent": index + 16 * CHUNKS - 1}
    flip(path / name, (places | {"checksum": index + 16 * CHUNKS + 3})[place])
    report = verify_cache(path)
    (finding,) = report.findings
    assert (finding.item, finding.kind) == (name, "root")
    assert says in finding.what
    if place in ("offset", "length", "checksum"):
        with pytest.raises(Exception):  # noqa: B017, PT011 (whatever Zarr and its codecs raise)
            zarr.open_group(path, mode="r")[name.partition("/")[0]][:]


def test_every_file_of_a_packed_cache_is_checked_to_the_byte(path: Path) -> None:
    """The checks of one file may not depend on another one: each is flipped alone."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != "lock"]
    assert len(files) > 15
    for file in files:
        whole = file.read_bytes()
        for byte in sorted({0, len(whole) // 3, len(whole) // 2, len(whole) - 1}):
            flip(file, byte)
            with suppress(DamageError, UsageError):
                assert verify_cache(path).findings, (file, byte)
            file.write_bytes(whole)
    assert verify_cache(path).findings == []


def drop_a_line(path: Path) -> None:
    journal = path / "_journal" / "commits-packed.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[1:]))


def change_the_root(path: Path) -> None:
    root = json.loads((path / "zarr.json").read_bytes())
    root["attributes"]["num_rows"] += 1
    (path / "zarr.json").write_text(json.dumps(root))


@pytest.mark.parametrize("damage", [drop_a_line, change_the_root])
def test_a_packed_cache_that_contradicts_itself_is_damage(damage: Callable[[Path], None], path: Path) -> None:
    damage(path)
    with pytest.raises(DamageError, match="rows were packed"):
        verify_cache(path)


def test_a_packed_cache_is_not_repaired_but_packed_again(path: Path) -> None:
    with pytest.raises(UsageError, match="is a packed cache, which is only read") as caught:
        repair_cache(path)
    assert caught.value.remedy.startswith("pack it again")
