# SPDX-License-Identifier: Apache-2.0
"""The format on disk: what other Zarr readers see, byte for byte what version 1 is, and what is refused."""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import pytest
import zarr
from cache_corpus import DIM, attributes, provenance, random_rows, store, write_cache
from hypothesis import example, given
from hypothesis import strategies as st

from ophclip.cache import open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.layout import MAX_FOLDER_LENGTH, array_metadata, folder_name, group_metadata
from ophclip.errors import DamageError, UsageError

SAFE = set(string.ascii_letters + string.digits + "-._~%+")

GOLDEN_GROUP = (
    b'{"zarr_format":3,"node_type":"group","attributes":{"format_version":1,"provenance":{"fps":1.0}}}\n'
)
GOLDEN_FEATURES = (
    b'{"zarr_format":3,"node_type":"array","shape":[2,3],"data_type":"float16",'
    b'"chunk_grid":{"name":"regular","configuration":{"chunk_shape":[2,3]}},'
    b'"chunk_key_encoding":{"name":"default","configuration":{"separator":"/"}},"fill_value":0.0,'
    b'"codecs":[{"name":"bytes","configuration":{"endian":"little"}}],'
    b'"attributes":{"video_id":"f\xc3\xa4ll","source_name":"source.mp4","source_size":6,'
    b'"source_sha256":"41cf6794ba4200b839c53531555f0f3998df4cbb01a4d5cb0b94e3ca5e23947d",'
    b'"data_sha256":"","decoder":"none","time_base":"1/1000","start":"0","pts":[0,1000],'
    b'"frame_times_s":[0.0,1.0]}}\n'
)


@pytest.mark.parametrize("name", ["built", "built_frames"])
def test_zarr_reads_what_open_cache_reads(name: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(name)
    cache = open_cache(path)
    group = zarr.open_group(path, mode="r")
    assert len(cache) == 4
    for video_id in cache:
        array = group[f"videos/{video_id}"]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(np.asarray(array[:]), cache[video_id])
        assert array.dtype == cache.dtype
        assert array.attrs["frame_times_s"] == list(cache.times(video_id))
    assert dict(group.attrs)["provenance"] == cache.provenance


@pytest.mark.parametrize("name", ["built", "built_frames"])
def test_a_video_is_one_uncompressed_chunk(name: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(name)
    cache = open_cache(path)
    for video_id in cache:
        folder = path / "videos" / video_id
        chunk = folder.joinpath("c", *"0" * cache[video_id].ndim)
        assert chunk.read_bytes() == cache[video_id].tobytes()
        assert sorted(entry for entry in folder.rglob("*") if entry.is_file()) == [
            chunk,
            folder / "zarr.json",
        ]


def test_metadata_of_format_version_1_stays_byte_for_byte() -> None:
    assert group_metadata({"format_version": 1, "provenance": {"fps": 1.0}}) == GOLDEN_GROUP
    assert array_metadata((2, 3), "float16", attributes("fäll", 2)) == GOLDEN_FEATURES
    frames = json.loads(array_metadata((2, 4, 4, 3), "uint8", attributes("a", 2)))
    assert (frames["data_type"], frames["fill_value"]) == ("uint8", 0)
    assert frames["codecs"] == [{"name": "bytes"}]


def test_a_cache_of_format_version_1_stays_readable(tmp_path: Path) -> None:
    """Written here byte by byte, not by the program."""
    rows = np.arange(6, dtype="<f2").reshape(2, 3)
    root = {"format_version": 1, "provenance": provenance((3,))}
    folder = tmp_path / "videos" / "f%C3%A4ll"
    (folder / "c" / "0").mkdir(parents=True)
    (tmp_path / "zarr.json").write_bytes(
        b'{"zarr_format":3,"node_type":"group","attributes":' + json.dumps(root).encode() + b"}\n"
    )
    (folder / "zarr.json").write_bytes(GOLDEN_FEATURES)
    (folder / "c" / "0" / "0").write_bytes(rows.tobytes())
    (tmp_path / "_journal").mkdir()
    (tmp_path / "_journal" / "commits-host-1-abcdef01.jsonl").write_bytes(
        b'{"video_id":"f\\u00e4ll","folder":"f%C3%A4ll","shape":[2,3],"source_path":"/v/source.mp4",'
        b'"source_size":6,"source_mtime_ns":7,"source_sha256":'
        b'"41cf6794ba4200b839c53531555f0f3998df4cbb01a4d5cb0b94e3ca5e23947d","time_ns":1700000000000000000}\n'
    )
    cache = open_cache(tmp_path)
    assert cache.ids == ["fäll"]
    np.testing.assert_array_equal(cache["fäll"], rows)
    assert cache.times("fäll").tolist() == [0.0, 1.0]
    assert (cache.source_path("fäll"), cache.source_mtime_ns("fäll")) == (Path("/v/source.mp4"), 7)


@given(st.lists(st.text(st.characters(codec=None), max_size=200), min_size=2, max_size=20, unique=True))
@example(["..", ".", "", "%", "%2E.", "%2E%2E"])
@example(["zarr.json", "%7Aarr.json", "_journal", ".tmp-a", "a/b", "a\\b", "a\0b", "a@b", "c"])
@example(["x" * 150, "x" * 151, "x" * 5000, "ä" * 60, "\udc80", "\udcff" * 80])
def test_distinct_ids_have_distinct_safe_folders(ids: list[str]) -> None:
    folders = [folder_name(video_id) for video_id in ids]
    assert len(set(folders)) == len(ids)
    for folder in folders:
        assert 0 < len(folder) <= MAX_FOLDER_LENGTH
        assert set(folder) <= SAFE
        assert folder[0] not in "._"
        assert folder != "zarr.json"


def test_an_id_that_imitates_a_cut_name_has_a_folder_of_its_own() -> None:
    cut = folder_name("x" * 500)
    assert folder_name(cut) != cut


@pytest.mark.parametrize(
    "video_id", ["..", "../../escape", "zarr.json", "", "長い名前" * 60, "a b", "_journal"]
)
def test_odd_ids_come_back_from_the_cache_and_stay_inside_it(video_id: str, tmp_path: Path) -> None:
    rows = random_rows(1, 3)
    path = write_cache(tmp_path / "inner" / "c.zarr", {video_id: rows})
    cache = open_cache(path)
    assert cache.ids == [video_id]
    np.testing.assert_array_equal(cache[video_id], rows)
    assert cache.attributes(video_id)["video_id"] == video_id
    assert [entry.name for entry in tmp_path.iterdir()] == ["inner"]
    assert [entry.name for entry in (tmp_path / "inner").iterdir()] == ["c.zarr"]
    assert len(list((path / "videos").iterdir())) == 2  # its folder, and the metadata of the group


def test_a_newer_format_version_is_refused_by_readers_and_writers(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(0, 2)})
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace('"format_version":1', '"format_version":2'))
    with pytest.raises(UsageError, match="the format must be 1, got 2; upgrade ophclip"):
        open_cache(path)
    with pytest.raises(UsageError, match="upgrade ophclip"):
        CacheWriter(path, provenance())


def test_a_foreign_zarr_group_is_refused_and_left_alone(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "z", attributes={"mine": 1}).create_array("videos", shape=(3,), dtype="i4")
    before = {entry: entry.stat().st_mtime_ns for entry in (tmp_path / "z").rglob("*")}
    for attempt in (open_cache, lambda path: CacheWriter(path, provenance())):
        with pytest.raises(UsageError, match="is a Zarr group, but not an ophclip cache"):
            attempt(tmp_path / "z")
    assert {entry: entry.stat().st_mtime_ns for entry in (tmp_path / "z").rglob("*")} == before


@pytest.mark.parametrize("entries", [["videos.csv", "videos/a.mp4"], ["videos/a.mp4"], ["notes.txt"]])
def test_a_folder_of_something_else_is_refused_and_left_alone(entries: list[str], tmp_path: Path) -> None:
    for entry in entries:
        (tmp_path / entry).parent.mkdir(exist_ok=True)
        (tmp_path / entry).touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="exists and is not a cache; name another --out"):
        CacheWriter(tmp_path, provenance())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_is_refused_as_a_cache(tmp_path: Path) -> None:
    (tmp_path / "c.zarr").write_text("a file")
    with pytest.raises(UsageError, match="exists and is not a cache"):
        CacheWriter(tmp_path / "c.zarr", provenance())
    with pytest.raises(UsageError, match="no cache at"):
        open_cache(tmp_path / "c.zarr")


def test_a_folder_that_a_process_left_as_it_began_is_taken_and_tidied(tmp_path: Path) -> None:
    path = tmp_path / "c.zarr"
    (path / "videos").mkdir(parents=True)
    leftovers = [path / ".zarr.json.0123", path / "videos" / ".zarr.json.4567"]
    for leftover in leftovers:
        leftover.touch()
    (path / "_journal").mkdir()
    write_cache(path, {"a": random_rows(0, 2)})
    assert open_cache(path).ids == ["a"]
    assert not any(leftover.exists() for leftover in leftovers)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"zarr_format":2}', '{"zarr_format":3,"attributes":[]}']
)
def test_unreadable_metadata_is_damage(text: str, tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text(text)
    with pytest.raises(DamageError, match=r"zarr\.json: "):
        open_cache(tmp_path)


def test_rows_of_any_batch_size_are_stored_in_order(tmp_path: Path) -> None:
    rows = random_rows(3, 7)
    with CacheWriter(tmp_path / "c.zarr", provenance()) as writer:
        batches = [rows[:1], rows[1:1], rows[1:6], rows[6:], np.empty((0, DIM), np.float16)]
        beside = attributes("a", 7)
        writer.store("a", iter(batches), beside, source_path="/a", source_mtime_ns=1)
        store(writer, "b", np.asfortranarray(rows))
    cache = open_cache(tmp_path / "c.zarr")
    np.testing.assert_array_equal(cache["a"], rows)
    np.testing.assert_array_equal(cache["b"], rows)
