# SPDX-License-Identifier: Apache-2.0
"""Caches in an object store: as local ones, and never half-visible, whatever the network does."""

from __future__ import annotations

import json
import os
import pickle
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import zarr
from cache_children import finish
from cache_corpus import (
    build,
    check_visible,
    contents,
    provenance,
    random_rows,
    store,
    write_clip,
)
from s3_places import build_elsewhere, copy_folder, keys, new_place, write
from s3_server import (
    BUCKET,
    Proxy,
    Request,
)

from ophclip.cache import (
    CacheInput,
    export_cache,
    open_cache,
    pack_cache,
    remote_journal,
    remote_lines,
)
from ophclip.cache.content import content_hash
from ophclip.cache.journal import line_of, read_commits, read_failures
from ophclip.cache.listing import list_videos, summarize
from ophclip.cache.location import ObjectPath, location
from ophclip.cache.objects import Bucket
from ophclip.cache.remote_commit import RemoteWriter
from ophclip.cache.repair import repair_cache
from ophclip.cache.verify import verify_cache
from ophclip.cli.main import main
from ophclip.errors import OphclipError, UsageError

pytest.importorskip("obstore")

POINTS = ("mid-data", "after-data", "after-metadata", "before-journal", "after-journal")


def test_a_cache_in_an_object_store_is_that_of_a_folder(
    place: ObjectPath, clips: list[CacheInput], built: Path
) -> None:
    report = build(clips, place)
    assert report.committed == ["v0", "v1", "v2", "v3"]
    remote, local = open_cache(str(place)), open_cache(built)
    assert contents(place) == contents(built)  # type: ignore[arg-type]
    assert content_hash(remote) == content_hash(local)
    assert remote.provenance == local.provenance
    assert remote.attributes("v2") == local.attributes("v2")
    ids, starts = ["v3", "v0", "v3", "v1"], [4, 0, 11, 2]
    np.testing.assert_array_equal(remote.gather(ids, starts, 3), local.gather(ids, starts, 3))
    assert remote.gather([], [], 3).shape == (0, 3, 6)
    assert remote.gather(ids, starts, 0).shape == (4, 0, 6)
    rows = [[4, 5, 0], [1, 0, 0], [11, 2, 3], [2, 2, 3]]
    np.testing.assert_array_equal(remote.take(ids, rows), local.take(ids, rows))
    with pytest.raises(UsageError, match="start must lie in"):
        remote.gather(["v0"], [6], 1)
    again = build(clips, place)
    assert again.skipped == ["v0", "v1", "v2", "v3"]


def test_any_zarr_reader_opens_it(place: ObjectPath, clips: list[CacheInput]) -> None:
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    build(clips[:2], place)
    store = S3Store(BUCKET, prefix=place.key, client_options={"allow_http": True})
    group = zarr.open_group(ObjectStore(store, read_only=True), mode="r")
    for video_id, commit in read_commits(place).items():
        array = group[f"videos/{commit.folder}"]
        np.testing.assert_array_equal(array[:], open_cache(place)[video_id])
        assert array.attrs["video_id"] == video_id


def test_ids_of_any_kind_are_stored_under_keys_of_their_own(place: ObjectPath) -> None:
    names = ["a/b", "a%2Fb", "..", ".hidden", "zarr.json", "白内障 #1?", "x" * 300]
    write(place, names)
    reader = open_cache(place)
    assert reader.ids == sorted(names)
    for name in names:
        np.testing.assert_array_equal(reader[name], random_rows(len(name), 5))


@pytest.mark.parametrize("point", POINTS)
def test_a_build_killed_anywhere_shows_whole_videos_only_and_is_completed(
    point: str, place: ObjectPath, clips: list[CacheInput], built: Path
) -> None:
    build(clips[:1], place)
    assert finish(build_elsewhere(clips[:3], place, crash_at=point)) == -signal.SIGKILL
    seen = check_visible(place, contents(built))  # type: ignore[arg-type]
    assert seen == ({"v0", "v1"} if point == "after-journal" else {"v0"})
    report = build(clips, place)
    assert set(report.skipped) == seen
    assert content_hash(open_cache(place)) == content_hash(open_cache(built))
    assert verify_cache(place).findings == []


def test_a_line_before_its_data_would_be_seen(
    place: ObjectPath, clips: list[CacheInput], built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive control: a writer that loses its data behind the commit is caught by the same check."""
    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "put", lambda *_: None)
        build(clips[:1], place)
    with pytest.raises(OphclipError, match="v0"):
        check_visible(place, contents(built))  # type: ignore[arg-type]
    assert verify_cache(place).damaged == ["v0"]


def test_builds_of_the_same_videos_at_once_leave_what_one_does(
    place: ObjectPath, clips: list[CacheInput], built: Path
) -> None:
    processes = [build_elsewhere(clips, place) for _ in range(2)]
    assert [finish(process) for process in processes] == [0, 0]
    assert contents(place) == contents(built)  # type: ignore[arg-type]
    assert len(keys(place, "videos")) == 1 + 2 * len(clips), "the same objects from both"


def test_many_commits_are_few_objects_to_open(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_journal, "MERGE_AT", 4)
    place, names = new_place(), [f"v{number:03}" for number in range(24)]
    for first in (0, 10):
        write(place, names[first : first + 10])
    assert len(keys(place, "_journal")) == 6  # four, four and two lines, twice
    proxy.seen.clear()
    assert open_cache(place).ids == names[:20]
    assert len([each for each in proxy.seen if each.method == "GET"]) < 15
    monkeypatch.setattr(remote_lines, "MAX_SMALL", 3)
    write(place, names[20:])
    assert open_cache(place).ids == names
    assert len(keys(place, "_journal", "commits", "2")) == 1


@pytest.mark.parametrize("point", ["before-merge", "after-merge"])
def test_a_writer_killed_as_it_merges_loses_no_line(
    point: str, place: ObjectPath, clips: list[CacheInput], built: Path
) -> None:
    assert finish(build_elsewhere(clips, place, crash_at=point)) == -signal.SIGKILL
    assert contents(place) == contents(built)  # type: ignore[arg-type]


@pytest.mark.parametrize("listing", [2, 3, None], ids=["second listing", "third listing", "reading"])
def test_a_reader_misses_nothing_while_others_merge(listing: int | None, proxy: Proxy) -> None:
    """The lines move to another object before the reader's second or third listing, or before it reads."""
    place, names = new_place(), ["a", "b", "c"]
    writer = RemoteWriter(place, provenance())
    for name in names:
        store(writer, name, random_rows(1, 5))  # type: ignore[arg-type]
    listings: list[Request] = []

    def merge_before(request: Request) -> str:
        is_listing = "list-type" in request.path
        if is_listing and "commits" in request.path:
            listings.append(request)
        if (len(listings) == listing) if listing else (listings and not is_listing):
            proxy.fate = lambda _: ""
            writer.close()  # merges its three lines, and removes them
        return ""

    proxy.fate = merge_before
    assert list(read_commits(place)) == names
    assert keys(place, "_journal", "commits", "0") == []


def test_a_video_that_is_replaced_shows_old_or_new_rows(place: ObjectPath, tmp_path: Path) -> None:
    item = CacheInput("v", write_clip(tmp_path / "v.mp4", 1))
    build([item], place)
    reader = open_cache(place)
    old = reader["v"].copy()
    write_clip(item.path, 2)
    build([item], place)
    np.testing.assert_array_equal(reader["v"], old)
    reader.refresh()
    assert not np.array_equal(reader["v"], old)
    np.testing.assert_array_equal(reader["v"], open_cache(place)["v"])
    assert any("no commit speaks of 1 folders" in note for note in verify_cache(place).notes)


def test_failures_are_kept_and_not_tried_again(
    place: ObjectPath, clips: list[CacheInput], tmp_path: Path
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    inputs = [clips[0], CacheInput("bad", tmp_path / "bad.mp4")]
    assert list(build(inputs, place).failed) == ["bad"]
    assert list(read_failures(place)) == ["bad"]
    assert build(inputs, place).not_retried == ["bad"]
    assert [video.state for video in list_videos(place)] == ["stored", "failed"]
    facts = summarize(place)
    assert (facts["videos"], facts["failed"], facts["writers"]["running"]) == (1, 1, None)


def test_damage_is_found_and_repaired(place: ObjectPath, clips: list[CacheInput], built: Path) -> None:
    from cache_corpus import Statistics

    build(clips, place)
    before = content_hash(open_cache(place))
    assert verify_cache(place).content_hash == before
    folders = {video_id: place / "videos" / commit.folder for video_id, commit in read_commits(place).items()}
    rows = {video_id: folder / "c/0/0" for video_id, folder in folders.items()}
    flipped = bytearray(rows["v0"].read_bytes())
    flipped[3] ^= 1
    place.bucket.put(rows["v0"].key, bytes(flipped))
    place.bucket.put(rows["v1"].key, rows["v1"].read_bytes()[:-2])
    place.bucket.delete([rows["v2"].key])
    place.bucket.delete([(folders["v3"] / "zarr.json").key])
    report = verify_cache(place)
    assert report.damaged == ["v0", "v1", "v2", "v3"]
    with pytest.raises(OphclipError, match="v2"):
        open_cache(place).gather(["v2"], [0], 1)
    with pytest.raises(OphclipError, match="v1"):
        open_cache(place).gather(["v1"], [7], 1)
    mended = repair_cache(place, encoder=Statistics)
    assert sorted(mended.repaired) == ["v0", "v1", "v2", "v3"]
    assert mended.failed == {}
    assert verify_cache(place).content_hash == before
    assert contents(place) == contents(built)  # type: ignore[arg-type]


def test_damage_of_the_journal_is_named_and_not_mended(place: ObjectPath, clips: list[CacheInput]) -> None:
    build(clips[:2], place)
    name = keys(place, "_journal", "commits")[0]
    text = (place / name).read_bytes()
    place.bucket.put((place / name).key, text.replace(b"v1.mp4", b"w1.mp4", 1))
    report = verify_cache(place)
    assert [finding.item for finding in report.findings] == [name]
    assert "earlier version" in repair_cache(place).failed[name]


def test_folders_that_nobody_needs_go_after_a_day(
    place: ObjectPath, clips: list[CacheInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from ophclip.cache import remote_folders

    assert finish(build_elsewhere(clips[:1], place, crash_at="before-journal")) == -signal.SIGKILL
    build(clips[1:], place)
    assert len(keys(place, "videos")) == 9
    assert repair_cache(place).removed == []
    monkeypatch.setattr(remote_folders, "KEPT", timedelta(seconds=-5))
    assert [name[:3] for name in repair_cache(place).removed] == ["v0@"]
    assert len(keys(place, "videos")) == 7
    assert verify_cache(place).findings == []


def test_it_is_packed_and_exported(
    place: ObjectPath, clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    build(clips, place)
    pack_cache(open_cache(place), tmp_path / "p.zarr")
    assert contents(tmp_path / "p.zarr") == contents(built)
    export_cache(open_cache(place), tmp_path / "npy", "npy")
    np.testing.assert_array_equal(np.load(tmp_path / "npy" / "v1.npy"), open_cache(built)["v1"])


def test_a_folder_that_was_copied_to_a_bucket_is_read_and_built_on(
    place: ObjectPath, clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    build(clips[:3], tmp_path / "c.zarr")
    copy_folder(tmp_path / "c.zarr", place)
    assert contents(place) == {name: contents(built)[name] for name in ("v0", "v1", "v2")}  # type: ignore[arg-type]
    assert verify_cache(place).findings == []
    report = build(clips, place)
    assert (report.skipped, report.committed) == (["v0", "v1", "v2"], ["v3"])
    assert contents(place) == contents(built)  # type: ignore[arg-type]
    assert verify_cache(place).findings == []
    assert summarize(place)["writers"]["all"] == 2


def test_a_cache_travels_to_other_processes(place: ObjectPath, clips: list[CacheInput]) -> None:
    build(clips[:1], place)
    reader = open_cache(place)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader))["v0"], reader["v0"])
    process = os.fork()
    if process == 0:
        try:
            reader["v0"]
        except UsageError as error:
            os._exit(7 if "spawn" in error.remedy else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 7


def test_another_encoder_is_refused(place: ObjectPath, clips: list[CacheInput]) -> None:
    from cache_corpus import Statistics

    build(clips[:1], place)
    with pytest.raises(UsageError, match="was built with key"):
        build(clips, place, encoder=Statistics("two"))


@pytest.mark.parametrize(
    ("text", "key"),
    [("s3://b/c.zarr", "c.zarr"), ("s3://b/a//c.zarr/", "a/c.zarr"), ("s3:/b/c.zarr", "c.zarr")],
)
def test_urls_name_a_bucket_and_a_prefix(text: str, key: str) -> None:
    assert location(text) == ObjectPath("b", key)
    assert location(Path(text)) == ObjectPath("b", key)


@pytest.mark.parametrize("text", ["s3://b", "s3://b/", "s3://b/../c", "gs://b/c.zarr", "https://b/c.zarr"])
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        location(text)


def test_a_local_path_stays_one() -> None:
    assert location("a/s3/c.zarr") == Path("a/s3/c.zarr")
    assert isinstance(location(Path("/c.zarr")), Path)


def test_fifty_thousand_videos_open_with_few_requests(proxy: Proxy) -> None:
    place = new_place()
    write(place, ["v"])
    commit = read_commits(place)["v"]
    lines = [
        line_of(commit._replace(video_id=f"case_{number:05}")._asdict(), number) for number in range(50_000)
    ]
    remote_lines.merge(place, "commits", {"0": b"".join(lines)}, 2, "writer", 0)
    proxy.seen.clear()
    assert len(open_cache(place)) == 50_001
    assert len(proxy.seen) < 40


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as done:
        main([*map(str, arguments), "--quiet"])
    code = done.value.code
    assert isinstance(code, int)
    return code, capsys.readouterr().out


def test_the_commands_take_urls(
    place: ObjectPath, clips: list[CacheInput], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, frames = clips[0].path.parent, ("--stream", "frames", "--size", 16, "--fps", 2, "--device", "cpu")
    code, out = run(capsys, "cache", "build", videos, "--out", place, *frames, "--workers", 2)
    assert (code, out) == (0, f"{place}: 4 videos stored, 0 were there already, 0 failed\n")
    assert "v3" in run(capsys, "cache", "ls", place)[1]
    code, out = run(capsys, "cache", "verify", place)
    assert (code, "4 videos" in out) == (0, True)
    assert json.loads(run(capsys, "cache", "info", place, "--json")[1])["videos"] == 4
    assert "4 videos copied" in run(capsys, "cache", "merge", place, "--out", tmp_path / "c.zarr")[1]
    assert "4 videos copied" in run(capsys, "cache", "merge", tmp_path / "c.zarr", "--out", f"{place}-2")[1]
    hashes = [
        json.loads(run(capsys, "cache", "info", each, "--json")[1])["content_hash"]
        for each in (place, tmp_path / "c.zarr", f"{place}-2")
    ]
    assert len(set(hashes)) == 1
    assert run(capsys, "cache", "repair", place)[0] == 0


@pytest.mark.parametrize(
    "arguments", [("pack", "{cache}", "--out", "{url}"), ("plan", "{videos}", "--out", "{url}")]
)
def test_what_must_lie_on_a_disk_is_refused_elsewhere(
    arguments: Sequence[str],
    place: ObjectPath,
    built: Path,
    clips: list[CacheInput],
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {"cache": built, "videos": clips[0].path, "url": place}
    assert run(capsys, "cache", *(word.format(**names) for word in arguments))[0] == 2
    assert keys(place) == []
