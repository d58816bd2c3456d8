# SPDX-License-Identifier: Apache-2.0
"""Whatever is flipped, cut, deleted or swapped in a cache is found and named, and nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_children import finish, start
from cache_corpus import (
    Statistics,
    attributes,
    build,
    frame_rows,
    provenance,
    random_rows,
    store,
    write_cache,
    write_clip,
)
from numpy.typing import NDArray

from ophclip import console
from ophclip.cache import CacheInput, open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.content import content_hash
from ophclip.cache.findings import VerifyReport
from ophclip.cache.journal import Commit, JournalWriter
from ophclip.cache.root import digest
from ophclip.cache.verify import verify_cache
from ophclip.errors import UsageError

VIDEOS = {"a": random_rows(1, 3), "b": random_rows(2, 3), "c": random_rows(3, 5)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_cache(tmp_path / "c.zarr", VIDEOS)


def found(report: VerifyReport) -> list[tuple[str, str]]:
    return [(finding.item, finding.kind) for finding in report.findings]


def rows_of(path: Path, video_id: str) -> Path:
    return path / "videos" / video_id / "c" / "0" / "0"


def metadata_of(path: Path, video_id: str) -> Path:
    return path / "videos" / video_id / "zarr.json"


def journal_of(path: Path) -> Path:
    (journal,) = (path / "_journal").glob("commits-*.jsonl")
    return journal


def flip(file: Path, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(file.read_bytes())
    change(document["attributes"])
    file.write_text(json.dumps(document))


def test_a_whole_cache_is_whole_and_its_content_hash_is_that_of_info(path: Path) -> None:
    report = verify_cache(path)
    assert (report.videos, report.num_bytes, report.findings, report.notes) == (3, 11 * 6 * 2, [], [])
    assert report.content_hash == content_hash(open_cache(path))


def test_a_built_cache_is_whole(built: Path, built_frames: Path) -> None:
    for cache in (built, built_frames):
        report = verify_cache(cache)
        assert (report.findings, report.notes, report.videos) == ([], [], 4)
        assert report.content_hash == content_hash(open_cache(cache))


def test_an_empty_cache_is_whole(tmp_path: Path) -> None:
    assert verify_cache(write_cache(tmp_path / "c.zarr", {})).findings == []


def test_every_single_flipped_bit_of_a_cache_is_found(tmp_path: Path) -> None:
    """One random bit of a byte in six of every file; all bytes were tried once, and found."""
    path = write_cache(tmp_path / "c.zarr", {"a": VIDEOS["a"], "b": VIDEOS["b"]})
    with CacheWriter(path, provenance()) as writer:
        writer.fail("d", "the file is empty")
    rng = np.random.default_rng(11)
    console.set_quiet(True)
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != "lock"]
    assert len(files) == 8
    missed = []
    for file in files:
        sound = file.read_bytes()
        for byte in range(int(rng.integers(6)), len(sound), 6):
            bit = 8 * byte + int(rng.integers(8))
            flip(file, bit)
            if not verify_cache(path, threads=1).findings:
                missed.append((file.name, byte, bit % 8))
            file.write_bytes(sound)
    console.set_quiet(False)
    assert missed == []
    assert verify_cache(path).findings == []


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: rows_of(path, "b").write_bytes(b"\0" * 36), "not those that were committed"),
        (
            lambda path: rows_of(path, "b").write_bytes(rows_of(path, "b").read_bytes()[:-1]),
            "has 35 bytes, 36",
        ),
        (lambda path: rows_of(path, "b").write_bytes(b""), "has 0 bytes, 36 were committed"),
        (lambda path: rows_of(path, "b").unlink(), "No such file or directory"),
        (lambda path: replace_by_folder(rows_of(path, "b")), "bytes, 36 were committed"),
    ],
)
def test_damaged_rows_are_named(damage: Callable[[Path], Any], says: str, path: Path) -> None:
    damage(path)
    report = verify_cache(path)
    assert found(report) == [("b", "rows")]
    assert says in report.findings[0].what
    assert str(rows_of(path, "b")) in report.findings[0].what
    assert report.content_hash == ""


def test_swapped_rows_are_named_with_the_video_that_they_are_of(path: Path) -> None:
    first, second = rows_of(path, "a"), rows_of(path, "b")
    first.rename(path / "aside")
    second.rename(first)
    (path / "aside").rename(second)
    report = verify_cache(path)
    assert found(report) == [("a", "rows"), ("b", "rows")]
    assert report.findings[0].what.endswith("but those of 'b'")
    assert report.findings[1].what.endswith("but those of 'a'")


def test_swapped_folders_and_swapped_metadata_are_named(path: Path, tmp_path: Path) -> None:
    folders = path / "videos"
    for name, other in (("a", "aside"), ("b", "a"), ("aside", "b")):
        (folders / name).rename(folders / other)
    assert found(verify_cache(path)) == [("a", "metadata"), ("b", "metadata")]
    again = write_cache(tmp_path / "again.zarr", VIDEOS)
    texts = [metadata_of(again, video_id).read_bytes() for video_id in ("a", "b")]
    metadata_of(again, "a").write_bytes(texts[1])
    metadata_of(again, "b").write_bytes(texts[0])
    report = verify_cache(again)
    assert {finding.item for finding in report.findings} == {"a", "b"}
    assert "video_id must be 'a', got 'b'" in report.findings[0].what


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (
            lambda a: a.update(pts=[0, 1001, 2000]),
            "times",
            "the time of row 1, 1.0 s, is not that of its pts 1001",
        ),
        (lambda a: a.update(frame_times_s=[0.0, 1.0, 3.0]), "times", "the time of row 2, 3.0 s"),
        (lambda a: a.update(frame_times_s=[0.0, 1.0]), "times", "3 rows, but 3 pts and 2 frame times"),
        (lambda a: a.update(pts=[0, 2000, 1000], frame_times_s=[0.0, 2.0, 1.0]), "times", "row 2 is earlier"),
        (lambda a: a.update(time_base="1/0"), "times", "cannot be read"),
        (lambda a: a.update(start="soon"), "times", "cannot be read"),
        (lambda a: a.update(time_base="1/999"), "times", "is not that of its pts"),
        (lambda a: a.update(decoder="other"), "metadata", "not the bytes that were committed"),
        (lambda a: a.update(source_sha256="41"), "metadata", "source_sha256 must be"),
        (lambda a: a.pop("pts"), "metadata", "pts missing"),
    ],
)
def test_metadata_and_times_that_do_not_match_are_named(
    change: Callable[[dict[str, Any]], None], kind: str, says: str, path: Path
) -> None:
    edit(metadata_of(path, "b"), change)
    report = verify_cache(path)
    assert found(report) == [("b", kind)]
    assert says in report.findings[0].what


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"attributes": 3}', "\udce9"])
def test_unreadable_metadata_is_named(text: str, path: Path) -> None:
    metadata_of(path, "b").write_bytes(text.encode("utf-8", "surrogateescape"))
    report = verify_cache(path)
    assert found(report) == [("b", "metadata")]


def test_missing_metadata_and_a_missing_folder_are_named(path: Path) -> None:
    metadata_of(path, "a").unlink()
    shutil.rmtree(path / "videos" / "b")
    assert found(verify_cache(path)) == [("a", "metadata"), ("b", "metadata"), ("b", "rows")]


def test_a_shape_that_the_metadata_does_not_have_is_named(path: Path) -> None:
    with_other_shape = json.loads(metadata_of(path, "b").read_bytes()) | {"shape": [2, 6]}
    metadata_of(path, "b").write_text(json.dumps(with_other_shape))
    report = verify_cache(path)
    assert found(report) == [("b", "metadata")]
    assert "shape must be [3, 6], got [2, 6]" in report.findings[0].what


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0], lines[1].replace(b'"b"', b'"B"'), lines[2]],
        lambda lines: [lines[0], b"garbage\n", *lines[1:]],
        lambda lines: [*lines[:2], lines[2][:-1]],
        lambda lines: [lines[0] + lines[1][:20], *lines[2:]],
    ],
)
def test_changed_journal_lines_are_named(change: Callable[[list[bytes]], list[bytes]], path: Path) -> None:
    journal = journal_of(path)
    journal.write_bytes(b"".join(change(journal.read_bytes().splitlines(keepends=True))))
    report = verify_cache(path)
    assert {finding.kind for finding in report.findings} == {"journal"}
    assert report.findings[0].item == f"_journal/{journal.name}"
    assert str(journal) in report.findings[0].what


@pytest.mark.parametrize("tail", [b'{"video_id":"d","fol', b"\0\0\0\0\n", b'{"video_id"\0\0\0\n'])
def test_what_a_power_cut_leaves_of_a_last_line_is_a_note_and_no_damage(tail: bytes, path: Path) -> None:
    with journal_of(path).open("ab") as journal:
        journal.write(tail)
    report = verify_cache(path)
    assert report.findings == []
    assert "power cut" in report.notes[0]
    assert report.content_hash == content_hash(open_cache(path))


def test_a_deleted_journal_is_named(path: Path) -> None:
    journal_of(path).unlink()
    report = verify_cache(path)
    assert found(report) == [("_journal", "journal")]
    assert "3 folders have no journal line (a, b, c)" in report.findings[0].what
    shutil.rmtree(path / "_journal")
    assert ("_journal", "journal") in found(verify_cache(path))


def test_a_folder_that_a_dead_writer_left_is_a_note(path: Path) -> None:
    shutil.copytree(path / "videos" / "a", path / "videos" / "left")
    report = verify_cache(path)
    assert report.findings == []
    assert report.notes == ["no commit speaks of videos/left: left by a writer that died, to be redone"]


@pytest.mark.parametrize("name", ["zarr.json", "videos/zarr.json"])
def test_damaged_groups_are_named(name: str, path: Path) -> None:
    (path / name).write_text("{")
    assert found(verify_cache(path)) == [(name, "root")]
    (path / name).unlink()
    report = verify_cache(path)
    assert found(report) == [(name, "root")]
    assert report.videos == (0 if name == "zarr.json" else 3)


def test_a_changed_provenance_is_named(path: Path) -> None:
    edit(path / "zarr.json", lambda a: a["provenance"].update(fps=2.0))
    report = verify_cache(path)
    assert found(report) == [("zarr.json", "root")]
    assert "its checksum differs" in report.findings[0].what


def test_what_is_no_cache_or_a_newer_one_is_a_usage_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no cache at"):
        verify_cache(tmp_path)

    def newer(attributes: dict[str, Any]) -> None:
        attributes["format_version"] = 2
        attributes["sha256"] = digest(attributes)

    edit(path / "zarr.json", newer)
    with pytest.raises(UsageError, match="the format must be 1, got 2"):
        verify_cache(path)


def test_only_the_videos_asked_for_are_read(path: Path) -> None:
    rows_of(path, "a").unlink()
    report = verify_cache(path, ["b", "c"])
    assert (report.videos, report.findings, report.content_hash) == (2, [], "")
    assert found(verify_cache(path, ["a"])) == [("a", "rows")]
    with pytest.raises(UsageError, match="holds no video 'x'"):
        verify_cache(path, ["x"])


def test_zarrs_own_index_of_the_group_is_no_damage(path: Path) -> None:
    import zarr

    zarr.consolidate_metadata(str(path))
    assert verify_cache(path).findings == []


def replace_again_and_again(path: Path, ready: str) -> None:
    with CacheWriter(path, provenance()) as writer:
        for number in range(40):
            rows = random_rows(number, 3 + number % 3)
            store(writer, "b", rows, source=b"source %d" % number)
            Path(ready).touch()


def test_a_video_that_is_being_replaced_is_no_damage(path: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    writer = start(replace_again_and_again, path, str(ready))
    while not ready.exists():
        assert writer.is_alive()
    rounds = 0
    while writer.is_alive():
        assert verify_cache(path).findings == []
        rounds += 1
    assert finish(writer) == 0
    assert rounds > 3


def test_the_content_hash_is_of_rows_times_and_provenance_alone(path: Path, tmp_path: Path) -> None:
    expected = content_hash(open_cache(path))
    other = tmp_path / "moved" / "other.zarr"
    later = provenance() | {"versions": {"ophclip": "9", "decoder": "9"}}
    for video_id in ("c", "a", "b"):  # another order, a journal each, another source path and date
        with CacheWriter(other, later) as writer:
            beside = attributes(video_id, len(VIDEOS[video_id]))
            writer.store(video_id, [VIDEOS[video_id]], beside, source_path="/elsewhere", source_mtime_ns=1)
    assert content_hash(open_cache(other)) == expected
    assert len(list((other / "_journal").glob("commits-*"))) == 3


@pytest.mark.parametrize("what", ["rows", "times", "id", "fps", "fewer"])
def test_the_content_hash_differs_where_the_content_does(what: str, path: Path, tmp_path: Path) -> None:
    videos = dict(VIDEOS)
    key = provenance() | ({"fps": 2.0} if what == "fps" else {})
    if what == "rows":
        videos["b"] = VIDEOS["b"] + np.float16(0.5)
    if what == "id":
        videos["B"] = videos.pop("b")
    if what == "fewer":
        videos.pop("c")
    with CacheWriter(tmp_path / "other.zarr", key) as writer:
        for video_id, rows in videos.items():
            beside = attributes(video_id, len(rows))
            if what == "times":
                beside["pts"], beside["frame_times_s"] = [7 for _ in rows], [0.007 for _ in rows]
            writer.store(video_id, [rows], beside, source_path="/", source_mtime_ns=1)
    assert content_hash(open_cache(tmp_path / "other.zarr")) != content_hash(open_cache(path))


def test_a_share_of_frames_is_decoded_anew_and_equal(built: Path, built_frames: Path) -> None:
    total = sum(open_cache(built_frames).num_frames(video_id) for video_id in open_cache(built_frames))
    report = verify_cache(built_frames, sample=1)
    assert (report.findings, report.unchecked, report.frames_decoded) == ([], {}, total)
    report = verify_cache(built, sample=0.3, encoder=Statistics(), seed=3)
    assert (report.findings, report.unchecked) == ([], {})
    assert 0 < report.frames_decoded < 0.6 * total


def stored_as(path: Path, source: Path, video_id: str, rows: NDArray[Any], original: Path) -> None:
    """Enter rows of one's own, with right checksums, for a video: what only decoding anew can tell."""
    beside = open_cache(original).attributes(video_id)
    commit = open_cache(original)
    with CacheWriter(path, commit.provenance) as writer:
        writer.store(
            video_id,
            [rows],
            beside,  # type: ignore[arg-type]
            source_path=str(source),
            source_mtime_ns=commit.source_mtime_ns(video_id),
        )


def test_rows_of_other_frames_are_found_by_decoding_anew(
    clips: list[CacheInput], built: Path, built_frames: Path, tmp_path: Path
) -> None:
    for original, encoder in ((built, Statistics()), (built_frames, None)):
        path = tmp_path / original.name
        wrong = np.array(open_cache(original)["v1"])
        wrong[2] = wrong[5]
        stored_as(path, clips[1].path, "v1", wrong, original)
        assert verify_cache(path).findings == []
        report = verify_cache(path, sample=1, encoder=encoder)
        assert found(report) == [("v1", "sample")]
        assert report.findings[0].what.startswith(f"row 2 differs from its frame in {clips[1].path} by ")


def test_a_frame_of_the_same_decoder_must_be_exact_and_of_another_version_near(
    clips: list[CacheInput], built_frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.zarr"
    near = np.array(open_cache(built_frames)["v1"])
    near[3, 0, 0, 0] ^= 1
    stored_as(path, clips[1].path, "v1", near, built_frames)
    (finding,) = verify_cache(path, sample=1).findings
    assert finding.what.endswith("by 0.00 of 255 levels in the mean, 1 at most")
    monkeypatch.setattr("ophclip.video.decode_pyav.PyavSource.version", "0.1 libavcodec 1")
    assert verify_cache(path, sample=1).findings == []
    near[3] = 255 - near[3]
    stored_as(tmp_path / "far.zarr", clips[1].path, "v1", near, built_frames)
    assert found(verify_cache(tmp_path / "far.zarr", sample=1)) == [("v1", "sample")]


def test_a_video_file_that_is_gone_or_has_changed_is_no_damage(tmp_path: Path) -> None:
    inputs = [CacheInput(f"v{n}", write_clip(tmp_path / f"v{n}.mp4", n)) for n in range(4)]
    build(inputs, tmp_path / "c.zarr", encoder=frame_rows())
    inputs[0].path.unlink()
    write_clip(inputs[1].path, 9)
    inputs[2].path.touch()
    report = verify_cache(tmp_path / "c.zarr", sample=1)
    assert report.findings == []
    assert report.unchecked == {
        "v0": f"{inputs[0].path} is gone",
        "v1": f"{inputs[1].path} has changed since its rows were stored",
    }
    assert report.frames_decoded == 12


def test_a_decoder_that_is_not_here_is_no_damage(
    clips: list[CacheInput], built_frames: Path, tmp_path: Path
) -> None:
    stored_as(tmp_path / "c.zarr", clips[1].path, "v1", open_cache(built_frames)["v1"], built_frames)
    journal = JournalWriter(tmp_path / "c.zarr")
    edit(metadata_of(tmp_path / "c.zarr", "v1"), lambda a: a.update(decoder="vlc 3"))
    stat = clips[1].path.stat()
    sha256 = open_cache(built_frames).attributes("v1")["source_sha256"]
    shape = open_cache(built_frames)["v1"].shape
    journal.commit(Commit("v1", "v1", shape, str(clips[1].path), stat.st_size, stat.st_mtime_ns, sha256))
    journal.close()
    report = verify_cache(tmp_path / "c.zarr", sample=1)
    assert (report.findings, report.unchecked) == ([], {"v1": "its decoder 'vlc 3' is not known here"})


def test_features_need_their_own_encoder(built: Path) -> None:
    with pytest.raises(UsageError, match="holds the rows of the encoder 'statistics'") as caught:
        verify_cache(built, sample=0.5)
    assert "--encoder" in caught.value.remedy
    with pytest.raises(UsageError, match="was built with key"):
        verify_cache(built, sample=0.5, encoder=Statistics("two"))
    with pytest.raises(UsageError, match=r"sample must lie in \[0, 1\], got 2"):
        verify_cache(built, sample=2)
