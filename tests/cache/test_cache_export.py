# SPDX-License-Identifier: Apache-2.0
"""Exports: each format as its own package reads it, resumed, replaced, refused, and safe names."""

from __future__ import annotations

import json
import shutil
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_children import finish, start
from cache_corpus import provenance, random_rows, store, tree, write_cache
from safetensors import safe_open

from ophclip.cache import ExportFormat, FeatureCache, export, export_cache, exportfiles, open_cache, pack
from ophclip.cache.commit import CacheWriter
from ophclip.cache.exclusive import alone_in
from ophclip.cache.exportfiles import file_stem
from ophclip.errors import DamageError, UsageError

FORMATS: tuple[ExportFormat, ...] = ("npy", "safetensors", "webdataset")
HOSTILE = ["../../etc/passwd", "a.b.c", ".hidden", "__meta__", "a/b", "x" * 300, "né\n", "zarr.json", "CON"]
LENGTHS = {name: 3 + number for number, name in enumerate(HOSTILE)} | {"one": 1, "long": 5000}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    rows = {name: random_rows(number, length) for number, (name, length) in enumerate(LENGTHS.items())}
    return open_cache(write_cache(tmp_path_factory.mktemp("source") / "c.zarr", rows))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "BLOCK_BYTES", 1 << 14)


def read_webdataset(out: Path) -> Iterator[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import webdataset  # which warns of what it imports itself
    urls = sorted(str(path) for path in out.glob("shard-*.tar"))
    yield from webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode()


def read_export(out: Path, format: ExportFormat) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Rows and description of each video, read by the format's own package."""
    found = {}
    if format == "webdataset":
        return {
            sample["json"]["video_id"]: (sample["npy"], sample["json"]) for sample in read_webdataset(out)
        }
    if format == "npy":
        for path in out.glob("*.npy"):
            beside = json.loads(path.with_suffix(".json").read_text())
            found[beside["video_id"]] = (np.load(path), beside)
        return found
    for path in out.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            beside = json.loads(file.metadata()["description"])
            beside |= {
                "pts": file.get_tensor("pts").tolist(),
                "frame_times_s": file.get_tensor("times_s").tolist(),
            }
            found[beside["video_id"]] = (file.get_tensor("rows"), beside)
    return found


def assert_exported(out: Path, format: ExportFormat, cache: FeatureCache, ids: list[str]) -> None:
    found = read_export(out, format)
    assert sorted(found) == sorted(ids)
    for video_id, (rows, beside) in found.items():
        np.testing.assert_array_equal(rows, cache[video_id])
        assert rows.dtype == cache.dtype
        assert beside == {**cache.attributes(video_id), "provenance": cache.provenance}


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_holds_rows_times_and_provenance(
    format: ExportFormat, cache: FeatureCache, tmp_path: Path
) -> None:
    report = export_cache(cache, tmp_path / "out", format)
    assert_exported(tmp_path / "out", format, cache, cache.ids)
    assert (report.num_written, report.num_skipped) == (len(LENGTHS), 0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"], "no id leads out of the folder"


@pytest.mark.parametrize("format", FORMATS)
def test_frames_are_exported_too(format: ExportFormat, built_frames: Path, tmp_path: Path) -> None:
    frames = open_cache(built_frames)
    export_cache(frames, tmp_path / "out", format)
    assert_exported(tmp_path / "out", format, frames, frames.ids)


@pytest.mark.parametrize("format", FORMATS)
def test_a_second_run_writes_nothing_and_another_place_gets_the_same_bytes(
    format: ExportFormat, cache: FeatureCache, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_cache(cache, out, format)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.name != ".lock"}
    assert export_cache(cache, out, format).num_skipped == len(LENGTHS)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir() if path.name != ".lock"} == before
    export_cache(cache, tmp_path / "again", format)
    assert tree(tmp_path / "again") == tree(out)


@pytest.mark.parametrize("format", FORMATS)
def test_only_the_videos_chosen_are_exported(
    format: ExportFormat, cache: FeatureCache, tmp_path: Path
) -> None:
    export_cache(cache, tmp_path, format, ids=["one", "a/b", "one"])
    assert_exported(tmp_path, format, cache, ["a/b", "one"])


@pytest.mark.parametrize("format", FORMATS)
def test_a_video_that_was_replaced_or_cut_is_written_again(
    format: ExportFormat, cache: FeatureCache, tmp_path: Path
) -> None:
    path, out = Path(shutil.copytree(cache.path, tmp_path / "c.zarr")), tmp_path / "out"
    export_cache(open_cache(path), out, format)
    with CacheWriter(path, provenance()) as writer:
        store(writer, "one", random_rows(77, 1), b"changed")
    changed = open_cache(path)
    assert export_cache(changed, out, format).num_written == (len(LENGTHS) if format == "webdataset" else 1)
    assert_exported(out, format, changed, changed.ids)
    if format != "webdataset":
        cut = next(out.glob(f"one.{'npy' if format == 'npy' else 'safetensors'}"))
        cut.write_bytes(cut.read_bytes()[:5])
        assert export_cache(changed, out, format).num_written == 1
        assert_exported(out, format, changed, changed.ids)


def test_shards_hold_so_much_and_stale_ones_go(tmp_path: Path) -> None:
    rows = 1 << 20  # bytes each, nearly
    cache = open_cache(
        write_cache(tmp_path / "c.zarr", {name: random_rows(1, rows // 12) for name in "abcde"})
    )
    out = tmp_path / "out"
    assert export_cache(cache, out, "webdataset", shard_mib=2).num_shards == 3
    assert [len(json.loads(path.read_text())) for path in sorted(out.glob("shard-*.json"))] == [2, 2, 1]
    assert_exported(out, "webdataset", cache, list("abcde"))
    assert export_cache(cache, out, "webdataset", shard_mib=100).num_shards == 1
    assert sorted(path.name for path in out.glob("shard-*")) == ["shard-000000.json", "shard-000000.tar"]
    assert_exported(out, "webdataset", cache, list("abcde"))


@pytest.mark.parametrize("video_id", HOSTILE)
def test_names_are_plain_and_have_no_dot(video_id: str) -> None:
    stem = file_stem(video_id)
    assert not set(stem) & set("./\\\n\0")
    assert not stem.startswith("_")
    assert 0 < len(stem) < 200


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_video_is_named_and_gets_no_file(
    format: ExportFormat, cache: FeatureCache, tmp_path: Path
) -> None:
    path, out = Path(shutil.copytree(cache.path, tmp_path / "c.zarr")), tmp_path / "out"
    chunk = path / "videos" / "long" / "c" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[-1] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(DamageError, match="video 'long': the rows are not those that were committed"):
        export_cache(open_cache(path), out, format, ids=["long"])
    assert sorted(entry.name for entry in out.iterdir()) == [".lock", "export.json"]


def export_child(path: Path, out: Path, format: ExportFormat) -> None:
    def then_die(cache: FeatureCache, video_id: str) -> dict[str, Any]:
        if video_id == "long":
            signal.raise_signal(signal.SIGKILL)
        return described(cache, video_id)

    described, exportfiles.description = exportfiles.description, then_die
    export_cache(open_cache(path), out, format)


@pytest.mark.parametrize("format", FORMATS)
def test_a_run_that_was_killed_is_gone_on_from(
    format: ExportFormat, cache: FeatureCache, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert finish(start(export_child, cache.path, out, format)) == -signal.SIGKILL
    report = export_cache(cache, out, format)
    assert report.num_skipped == (0 if format == "webdataset" else cache.ids.index("long"))
    assert_exported(out, format, cache, cache.ids)
    assert [path.name for path in out.glob(".*")] == [".lock"], "nothing half-written is left"


@pytest.mark.parametrize("format", FORMATS)
def test_a_packed_cache_is_exported_as_its_source(
    format: ExportFormat, cache: FeatureCache, tmp_path: Path
) -> None:
    pack.pack_cache(cache, tmp_path / "p.zarr")
    export_cache(open_cache(tmp_path / "p.zarr"), tmp_path / "packed", format)
    export_cache(cache, tmp_path / "plain", format)
    assert_exported(tmp_path / "packed", format, cache, cache.ids)
    assert sorted(tree(tmp_path / "packed")) == sorted(tree(tmp_path / "plain"))


def test_a_folder_of_something_else_is_refused(cache: FeatureCache, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not an export; name a new or an empty folder"):
        export_cache(cache, tmp_path, "npy")
    with pytest.raises(UsageError, match="is a file; name a folder"):
        export_cache(cache, tmp_path / "mine.txt", "npy")
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_formats_are_not_mixed(cache: FeatureCache, tmp_path: Path) -> None:
    export_cache(cache, tmp_path, "npy", ids=["one"])
    with pytest.raises(UsageError, match="holds an export of another format or of other features"):
        export_cache(cache, tmp_path, "safetensors", ids=["one"])


def test_a_video_that_is_not_there_is_named_before_anything_is_written(
    cache: FeatureCache, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="holds no video 'two'"):
        export_cache(cache, tmp_path / "out", "npy", ids=["one", "two"])
    assert not (tmp_path / "out").exists()


def test_of_two_exports_at_once_one_is_refused(cache: FeatureCache, tmp_path: Path) -> None:
    with (
        alone_in(tmp_path, export.LOCK, "busy"),
        pytest.raises(UsageError, match="another process is exporting into"),
    ):
        export_cache(cache, tmp_path, "npy")
