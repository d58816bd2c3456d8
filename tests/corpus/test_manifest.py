# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophclip.corpus import Clip, Corpus, Video, read_corpus, read_lineage_captions, write_corpus
from ophclip.errors import OphclipError, UsageError

VIDEOS_HEADER = "video_id,path,kind,title,title_structured,split\n"
CLIPS_HEADER = "clip_id,video_id,start_s,end_s,text\n"
ONE_VIDEO = VIDEOS_HEADER + "a,videos/a.mp4,narrated,A title,,train\n"
ONE_CLIP = CLIPS_HEADER + "a_0,a,1.5,4,We enter the eye.\n"


def corpus_folder(
    folder: Path, videos: str | bytes = ONE_VIDEO, clips: str | bytes | None = ONE_CLIP
) -> Path:
    for name, content in (("videos.csv", videos), ("clips.csv", clips)):
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (folder / name).write_bytes(data)
    return folder


def error_of(folder: Path) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_corpus(folder)
    assert caught.value.remedy
    return caught.value


def test_a_corpus_is_read_with_absolute_paths(tmp_path: Path) -> None:
    corpus = read_corpus(corpus_folder(tmp_path))
    assert corpus.videos == {
        "a": Video("a", tmp_path / "videos" / "a.mp4", "narrated", "A title", "", "train")
    }
    assert corpus.clips == [Clip("a_0", "a", 1.5, 4.0, "We enter the eye.")]
    assert corpus.root == tmp_path


def test_a_relative_folder_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert read_corpus(Path()).videos["a"].path == tmp_path / "videos" / "a.mp4"


def test_select_and_clips_of_keep_the_order_of_the_files(tmp_path: Path) -> None:
    videos = VIDEOS_HEADER + "".join(
        f"{name},{name}.mp4,{kind},,,{split}\n"
        for name, kind, split in [
            ("n2", "narrated", "train"),
            ("s1", "silent", "train"),
            ("n1", "narrated", "test"),
            ("s0", "silent", "test"),
        ]
    )
    clips = CLIPS_HEADER + "x,n1,0,1,one\ny,n2,0,1,two\nz,n1,5,6,three\n"
    corpus = read_corpus(corpus_folder(tmp_path, videos, clips))
    assert [video.video_id for video in corpus.select()] == ["n2", "s1", "n1", "s0"]
    assert [video.video_id for video in corpus.select(kind="narrated")] == ["n2", "n1"]
    assert [video.video_id for video in corpus.select(kind="silent", split="test")] == ["s0"]
    assert [clip.clip_id for clip in corpus.clips_of("n1")] == ["x", "z"]
    assert corpus.clips_of("s1") == []


def test_missing_files_are_told_on_request_only(tmp_path: Path) -> None:
    videos = ONE_VIDEO + "b,b.mp4,silent,,,train\n"
    (tmp_path / "b.mp4").write_bytes(b"any")
    corpus = read_corpus(corpus_folder(tmp_path, videos))
    assert [video.video_id for video in corpus.missing_files()] == ["a"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_byte_order_marks_and_either_line_ending_are_read(
    tmp_path: Path, encoding: str, newline: str
) -> None:
    videos = ONE_VIDEO.replace("\n", newline).encode(encoding)
    clips = ONE_CLIP.replace("\n", newline).encode(encoding)
    corpus = read_corpus(corpus_folder(tmp_path, videos, clips))
    assert list(corpus.videos) == ["a"]
    assert corpus.clips[0].text == "We enter the eye."


def test_quoted_commas_and_line_breaks_and_other_scripts_are_read(tmp_path: Path) -> None:
    videos = VIDEOS_HEADER + '白内障-é,"a, b.mp4",narrated,"Say ""phaco""\nhere",,train\n'
    clips = CLIPS_HEADER + '0,白内障-é,0,1,"first, then\r\nsecond"\n'
    corpus = read_corpus(corpus_folder(tmp_path, videos, clips))
    video = corpus.videos["白内障-é"]
    assert (video.path.name, video.title) == ("a, b.mp4", 'Say "phaco"\nhere')
    assert corpus.clips_of("白内障-é")[0].text == "first, then\r\nsecond"


def test_other_columns_and_another_order_and_blank_lines_are_harmless(tmp_path: Path) -> None:
    videos = "note,split,kind,path,title_structured,title,video_id\n\nx,train,narrated,a.mp4,S,T,a\n\n"
    video = read_corpus(corpus_folder(tmp_path, videos)).videos["a"]
    assert (video.title, video.title_structured, video.path) == ("T", "S", tmp_path / "a.mp4")


def test_absolute_paths_and_paths_out_of_the_folder_are_allowed(tmp_path: Path) -> None:
    videos = VIDEOS_HEADER + "a,/data/a.mp4,silent,,,train\nb,../b.mp4,silent,,,train\n"
    corpus = read_corpus(corpus_folder(tmp_path, videos, CLIPS_HEADER))
    assert corpus.videos["a"].path == Path("/data/a.mp4")
    assert corpus.videos["b"].path == tmp_path / ".." / "b.mp4"


def test_only_a_corpus_of_silent_videos_may_lack_clips(tmp_path: Path) -> None:
    silent = corpus_folder(tmp_path, VIDEOS_HEADER + "a,a.mp4,silent,,,train\n", clips=None)
    assert read_corpus(silent).clips == []
    assert "clips.csv" in error_of(corpus_folder(tmp_path, ONE_VIDEO, clips=None)).message


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("a_0,a,4.5,3,text", "end_s must be greater than start_s, got 3.0 <= 4.5"),
        ("a_0,a,3,3,text", "end_s must be greater than start_s, got 3.0 <= 3.0"),
        ("a_0,a,-1,3,text", "start_s must be 0 or more, got -1.0"),
        ("a_0,a,nan,3,text", "start_s must be a finite number of seconds, got 'nan'"),
        ("a_0,a,0,inf,text", "end_s must be a finite number of seconds, got 'inf'"),
        ("a_0,a,0,1e999,text", "end_s must be a finite number of seconds, got '1e999'"),
        ("a_0,a,0,1_0,text", "end_s must be a finite number of seconds, got '1_0'"),
        ("a_0,a,,3,text", "start_s must be a finite number of seconds, got ''"),
        ("a_0,a,00:01,3,text", "start_s must be a finite number of seconds, got '00:01'"),
        ('a_0,a,0,3,"  "', "text must say something, got an empty field"),
        ("a_0,b,0,3,text", "video_id must be one of videos.csv, got 'b'"),
        ("a_0,s,0,3,text", "a clip must belong to a narrated video, got the silent video 's'"),
        (",a,0,3,text", "clip_id must not be empty"),
        ("x,a,0,3,text", "clip_id must be unique, got 'x' again (first on line 2)"),
        ("a_0,a,0,3", "a row must have 5 fields as the header has, got 4"),
        ("a_0,a,0,3,text,more", "a row must have 5 fields as the header has, got 6"),
        ('a_0,a,0,3,"text', "the row must be well-formed CSV, got an error: unexpected end of data"),
    ],
)
def test_a_bad_clip_is_an_error_with_its_line(tmp_path: Path, row: str, expected: str) -> None:
    videos = ONE_VIDEO + "s,s.mp4,silent,,,train\n"
    clips = CLIPS_HEADER + 'x,a,0,1,"fine,\nhere"\n' + row + "\n"
    assert error_of(corpus_folder(tmp_path, videos, clips)).message == f"{tmp_path}/clips.csv:4: {expected}"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("b,b.mp4,loud,,,train", "kind must be narrated or silent, got 'loud'"),
        ("a,b.mp4,silent,,,train", "video_id must be unique, got 'a' again (first on line 2)"),
        ("b,,silent,,,train", "path must name a video file, got an empty field"),
        ("b,b\x00.mp4,silent,,,train", "path must have no control characters"),
        ("b,b.mp4,silent,,,", "split must name a split such as train or test, got ''"),
        (",b.mp4,silent,,,train", "video_id must not be empty"),
        (" b,b.mp4,silent,,,train", "video_id must have no control characters and no space around it"),
        ("b/c,b.mp4,silent,,,train", "video_id must be a plain name without slashes, got 'b/c'"),
        ("..,b.mp4,silent,,,train", "video_id must be a plain name without slashes, got '..'"),
        ("b" * 201 + ",b.mp4,silent,,,train", "video_id must be at most 200 bytes long"),
        ("b,b.mp4,silent,,train", "a row must have 6 fields as the header has, got 5"),
    ],
)
def test_a_bad_video_is_an_error_with_its_line(tmp_path: Path, row: str, expected: str) -> None:
    message = error_of(corpus_folder(tmp_path, ONE_VIDEO + row + "\n")).message
    assert message.startswith(f"{tmp_path}/videos.csv:3: {expected}")


def test_several_bad_rows_are_named_at_once_and_the_rest_counted(tmp_path: Path) -> None:
    clips = CLIPS_HEADER + "".join(f"{index},a,2,1,text\n" for index in range(8))
    lines = error_of(corpus_folder(tmp_path, clips=clips)).message.splitlines()
    assert [line.split(":")[1] for line in lines[:5]] == ["2", "3", "4", "5", "6"]
    assert lines[5:] == ["... and 3 more bad rows"]


@pytest.mark.parametrize(
    ("videos", "expected", "remedy"),
    [
        (b"", "must start with a header, got an empty file", "video_id,path,kind"),
        (b"\n\n", "must start with a header, got an empty file", "video_id,path,kind"),
        (b"video_id,path,kind\n", "title, title_structured, split missing", "begin the file with"),
        (VIDEOS_HEADER.replace(",", ";").encode(), "missing", "commas between the fields"),
        (VIDEOS_HEADER.replace("\n", ",split\n").encode(), "got split twice", "take the second one out"),
        (ONE_VIDEO.encode() + "é".encode("latin-1"), "videos.csv:3: the file must be UTF-8", "UTF-8"),
        (ONE_VIDEO.encode("utf-16"), "videos.csv:1: the file must be UTF-8", "UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_explained(
    tmp_path: Path, videos: bytes, expected: str, remedy: str
) -> None:
    error = error_of(corpus_folder(tmp_path, videos))
    assert expected in error.message
    assert remedy in error.remedy


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_videos_csv_is_no_corpus(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    assert "got no videos.csv in it" in error_of(tmp_path / name).message


def plain_name() -> st.SearchStrategy[str]:
    characters = st.characters(
        codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"], exclude_characters="/\\"
    )
    return st.text(characters, min_size=1, max_size=40).filter(lambda name: name not in (".", ".."))


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    root = Path("/some/corpus")
    videos = {
        name: Video(
            name,
            draw(st.sampled_from([root / "videos", Path("/data"), root / ".." / "more"])) / name,
            draw(st.sampled_from(["narrated", "silent"])),
            draw(st.text()),
            draw(st.text()),
            draw(plain_name()),
        )
        for name in draw(st.lists(plain_name(), unique=True, max_size=4))
    }
    narrated = [video.video_id for video in videos.values() if video.kind == "narrated"]
    clips = []
    for clip_id in draw(st.lists(plain_name(), unique=True, max_size=6)) if narrated else []:
        start_s, end_s = draw(st.lists(st.floats(0, 1e9), min_size=2, max_size=2, unique=True).map(sorted))
        text = draw(st.text().filter(str.strip))
        clips.append(Clip(clip_id, draw(st.sampled_from(narrated)), start_s, end_s, text))
    return Corpus(root, videos, clips)


@settings(max_examples=60, deadline=None)
@given(corpora())
def test_what_is_written_is_read_back_equal(corpus: Corpus) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        here = {
            name: replace(video, path=root / video.path.relative_to(corpus.root))
            if video.path.is_relative_to(corpus.root)
            else video
            for name, video in corpus.videos.items()
        }
        corpus = Corpus(root, here, corpus.clips)
        write_corpus(corpus, root)
        back = read_corpus(root)
        assert list(back.videos.items()) == list(corpus.videos.items())
        assert back == corpus
        assert {file.name for file in root.iterdir()} == {"clips.csv", "videos.csv"}


def test_a_corpus_written_elsewhere_still_finds_its_files(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    corpus = read_corpus(corpus_folder(here))
    write_corpus(corpus, there)
    assert read_corpus(there).videos["a"].path == here / "videos" / "a.mp4"


def test_a_corpus_folder_can_be_moved_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    write_corpus(read_corpus(corpus_folder(tmp_path / "before")), tmp_path / "before")
    moved = (tmp_path / "before").rename(tmp_path / "after")
    assert read_corpus(moved).videos["a"].path == moved / "videos" / "a.mp4"


@pytest.mark.parametrize(
    ("video", "clips"),
    [
        (Video("a/b", Path("/a"), "narrated", "", "", "train"), []),
        (Video("a", Path("/a"), "silent", "", "", ""), []),
        (Video("a", Path("/a"), "narrated", "", "", "train"), [Clip("0", "a", 2.0, 1.0, "text")]),
        (Video("a", Path("/a"), "narrated", "", "", "train"), [Clip("0", "a", 0.0, float("nan"), "text")]),
        (Video("a", Path("/a"), "narrated", "", "", "train"), [Clip("0", "b", 0.0, 1.0, "text")]),
        (Video("a", Path("/a"), "narrated", "", "", "train"), [Clip("0", "a", 0.0, 1.0, "text")] * 2),
        (Video("a", Path("/a"), "narrated", "lone \ud800 surrogate", "", "train"), []),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, video: Video, clips: list[Clip]) -> None:
    corpus_folder(tmp_path)
    with pytest.raises(UsageError):
        write_corpus(Corpus(tmp_path, {video.video_id: video}, clips), tmp_path)
    assert (tmp_path / "videos.csv").read_text() == ONE_VIDEO
    assert len(list(tmp_path.iterdir())) == 2


def test_a_corpus_that_cannot_be_written_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    corpus = read_corpus(corpus_folder(tmp_path))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OphclipError, match="cannot make"):
        write_corpus(corpus, tmp_path / "file")


def test_lineage_captions_are_read_as_clips_of_the_file_they_stand_in(tmp_path: Path) -> None:
    path = tmp_path / "video-07.csv"
    path.write_bytes(
        '\ufeffstart,end,text,step\r\n0.0,4.5,"So, here we are.",1\r\n4.5,9,Next.,2\r\n'.encode()
    )
    assert read_lineage_captions(path) == [
        Clip("video-07_00000", "video-07", 0.0, 4.5, "So, here we are."),
        Clip("video-07_00001", "video-07", 4.5, 9.0, "Next."),
    ]


def test_bad_lineage_captions_are_errors_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text("start,end,text\n5,4,late\n0,1,\n0,x,text\n")
    with pytest.raises(UsageError) as caught:
        read_lineage_captions(path)
    assert caught.value.message.splitlines() == [
        f"{path}:2: end must be greater than start, got 4.0 <= 5.0",
        f"{path}:3: text must say something, got an empty field",
        f"{path}:4: end must be a finite number of seconds, got 'x'",
    ]
