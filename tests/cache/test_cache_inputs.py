# SPDX-License-Identifier: Apache-2.0
"""Which videos a build reads: corpora, folders and files, and the ids they get."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cache_corpus import build, write_clip

from ophclip.cache import CacheInput, find_inputs, open_cache
from ophclip.cache.inputs import SUFFIXES
from ophclip.corpus import Corpus, Video, write_corpus
from ophclip.errors import UsageError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def make_corpus(folder: Path, *ids: str) -> Path:
    folder.mkdir()
    videos = {
        name: Video(name, touch(folder / "files" / f"{name}-file.mp4"), "silent", "", "", "train")
        for name in ids
    }
    write_corpus(Corpus(folder, videos, {}), folder)
    return folder


def test_a_corpus_names_its_own_ids(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path / "corpus", "b", "a")
    touch(folder / "files" / "not-listed.mp4")
    assert {item.video_id: item.path for item in find_inputs([folder])} == {
        name: folder / "files" / f"{name}-file.mp4" for name in "ab"
    }


def test_a_folder_is_searched_to_the_bottom_in_order(tmp_path: Path) -> None:
    for name in ("z.mp4", "deep/er/a.MKV", "b.webm", "notes.txt", ".hidden.mp4", "no_suffix"):
        touch(tmp_path / name)
    (tmp_path / "folder.mp4").mkdir()
    found = find_inputs([tmp_path])
    assert [item.video_id for item in found] == ["b", "a", "z"]
    assert found[1].path == tmp_path / "deep" / "er" / "a.MKV"


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_container_is_found(suffix: str, tmp_path: Path) -> None:
    touch(tmp_path / f"a{suffix}")
    assert [item.video_id for item in find_inputs([tmp_path])] == ["a"]


def test_a_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    file = touch(tmp_path / "video.bin")
    assert find_inputs([file]) == [CacheInput("video", file)]


def test_files_of_one_stem_get_ids_that_stay_the_same(tmp_path: Path) -> None:
    files = [touch(tmp_path / name) for name in ("1/op.mp4", "2/op.mp4", "2/op.mkv", "2/other.mp4")]
    ids = {item.path: item.video_id for item in find_inputs(files)}
    assert len(set(ids.values())) == 4
    assert ids[files[3]] == "other"
    assert all(ids[file].startswith("op-") for file in files[:3])
    assert {item.path: item.video_id for item in find_inputs([tmp_path])} == ids
    assert {item.path: item.video_id for item in find_inputs(files[1::-1])}.items() <= ids.items()


def test_what_is_named_twice_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = touch(tmp_path / "videos" / "a.mp4")
    corpus = make_corpus(tmp_path / "corpus", "b")
    paths = [file, Path("videos/a.mp4"), tmp_path / "videos", corpus, Path("corpus")]
    assert [item.video_id for item in find_inputs(paths)] == ["b", "a"]


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_corpus(tmp_path / "corpus", "b")
    touch(tmp_path / "a.mp4")
    monkeypatch.chdir(tmp_path)
    found = find_inputs([Path("corpus"), Path("a.mp4")])
    assert [item.path for item in found] == [tmp_path / "corpus/files/b-file.mp4", tmp_path / "a.mp4"]


def test_two_corpora_that_share_an_id_are_refused(tmp_path: Path) -> None:
    corpora = [make_corpus(tmp_path / "1", "a", "b"), make_corpus(tmp_path / "2", "b", "c")]
    with pytest.raises(UsageError, match="video id 'b' names two videos; build them into two caches"):
        find_inputs(corpora)


def test_a_corpus_and_a_file_that_share_an_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="video id 'a' names two videos"):
        find_inputs([make_corpus(tmp_path / "1", "a"), touch(tmp_path / "a.mp4")])


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.mp4 is neither a file nor a folder; check the path"):
        find_inputs([tmp_path / "gone.mp4"])


def test_a_folder_without_videos_is_refused_naming_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match=r"no videos in .*; looked for .*\.mp4 .*\.webm"):
        find_inputs([tmp_path])


def test_names_in_any_script_and_of_any_bytes_are_built(tmp_path: Path) -> None:
    names = [os.fsencode("白内障 手術.mp4"), b"caf\xe9.mp4", b"caf\xe8.mp4", b"100% & 'more'.mp4"]
    for number, name in enumerate(names):
        os.rename(write_clip(tmp_path / "new.mp4", number), os.path.join(os.fsencode(tmp_path), name))  # noqa: PTH104, PTH118
    found = find_inputs([tmp_path])
    assert {item.video_id for item in found} == {"白内障 手術", r"caf\xe9", r"caf\xe8", "100% & 'more'"}
    out = tmp_path / "c.zarr"
    report = build(found, out)
    assert report.failed == {}
    cache = open_cache(out)
    assert cache.ids == sorted(item.video_id for item in found)
    assert cache.attributes(r"caf\xe9")["source_name"] == r"caf\xe9.mp4"
    assert cache.source_path(r"caf\xe9").exists()
