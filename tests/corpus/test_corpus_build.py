# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ophclip.corpus import read_corpus
from ophclip.corpus.builder import BuildReport, BuildSettings, build_corpus, histogram
from ophclip.corpus.builder.memo import NAME
from ophclip.corpus.builder.settings import parse_preference
from ophclip.corpus.info import corpus_info
from ophclip.errors import UsageError
from ophclip.video import write_video

SAID = "We start the main incision with the keratome. Then the rhexis is torn. "


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 30 seconds; tests copy it."""
    path = tmp_path_factory.mktemp("footage") / "footage.mp4"
    write_video(path, (np.full((32, 32, 3), index, np.uint8) for index in range(30)), 1)
    return path


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


def put(footage: Path, path: Path, info: dict[str, Any] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(footage, path)
    if info is not None:
        path.with_suffix(".info.json").write_text(json.dumps(info))


def srt(text: str, repeat: int = 1) -> str:
    """Return cues that fill 25 seconds; the last word of each differs, unlike in a scroll or a loop."""
    step = 25 / repeat
    last = ["first", "second", "third", "fourth", "fifth"]
    return "\n".join(
        f"{i + 1}\n00:00:{int(i * step):02d},000 --> 00:00:{int(i * step + step):02d},000\n"
        f"{text} {last[i % 5]}\n"
        for i in range(repeat)
    )


def whisper(text: str, **more: Any) -> str:
    return json.dumps({"language": "en", "segments": [{"start": 0, "end": 20, "text": text}], **more})


def problems(report: BuildReport) -> dict[str, str]:
    return {Path(file).name: problem for file, problem in report.problems}


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_folder_of_downloads_becomes_a_corpus(tmp_path: Path, downloads: Path, footage: Path) -> None:
    info = {"id": "abcdefghijk", "title": "Phaco \u0001 with\nMalyugin ring", "tags": ["cataract surgery", 7]}
    put(footage, downloads / "Phaco [abcdefghijk].mp4", info)
    (downloads / "Phaco [abcdefghijk].en.srt").write_text(srt(SAID, 3))
    put(footage, downloads / "silent.mp4")
    report = build_corpus(downloads, tmp_path / "corpus", workers=1)
    corpus = read_corpus(tmp_path / "corpus")
    assert report.problems == []
    narrated = corpus.videos["abcdefghijk"]
    assert (narrated.kind, narrated.title) == ("narrated", "Phaco with Malyugin ring")
    assert narrated.title_structured.startswith("Phacoemulsification cataract surgery | ")
    assert corpus.videos["silent"].kind == "silent"
    assert corpus.missing_files() == []
    clips = corpus.clips_of("abcdefghijk")
    assert {clip.clip_id.rsplit("_", 1)[0] for clip in clips} == {"abcdefghijk_w3-5", "abcdefghijk_w8-15"}
    assert all(clip.end_s <= 30 for clip in clips)
    assert report.clips.total() == len(clips)


def test_the_same_downloads_give_the_same_bytes_and_are_not_read_twice(
    tmp_path: Path, downloads: Path, footage: Path
) -> None:
    for name in "abc":
        put(footage, downloads / f"{name}.mp4")
        (downloads / f"{name}.srt").write_text(srt(SAID, 3))
    build_corpus(downloads, tmp_path / "one", workers=1)
    before = contents(tmp_path / "one")
    again = build_corpus(downloads, tmp_path / "one", workers=1)
    assert again.reused == 3
    assert contents(tmp_path / "one") == before
    build_corpus(downloads, tmp_path / "two", workers=1)
    assert contents(tmp_path / "two") | {"build.json": b""} == before | {"build.json": b""}
    (downloads / "b.srt").write_text(srt("Now the lens is injected into the bag.", 3))
    changed = build_corpus(downloads, tmp_path / "one", workers=1)
    assert changed.reused == 2
    assert any("lens" in clip.text for clip in read_corpus(tmp_path / "one").clips_of("b"))


def test_workers_change_nothing(tmp_path: Path, downloads: Path, footage: Path) -> None:
    for number in range(70):
        path = downloads / f"v{number:02d}.mp4"
        os.link(footage, path)
        (downloads / f"v{number:02d}.srt").write_text(srt(f"{SAID} Number {number}.", 2))
    build_corpus(downloads, tmp_path / "one", workers=1)
    build_corpus(downloads, tmp_path / "two", workers=2)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    for name in ("videos.csv", "clips.csv", "corrections.csv", NAME):
        assert one[name] == two[name]


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path, downloads: Path, footage: Path) -> None:
    for number in range(400):
        os.link(footage, downloads / f"v{number:03d}.mp4")
        (downloads / f"v{number:03d}.srt").write_text(srt(SAID, 5))
    out = tmp_path / "corpus"
    program = (
        "import sys; from pathlib import Path; from ophclip.corpus.builder import build_corpus\n"
        "build_corpus(Path(sys.argv[1]), Path(sys.argv[2]), workers=1)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(downloads), str(out)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not ((out / NAME).exists() and (out / NAME).read_bytes().count(b"\n") > 5):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "videos.csv").exists(), "it was through before it was killed"
    with (out / NAME).open("a") as file:
        file.write("torn line without an en")
    report = build_corpus(downloads, out, workers=1)
    assert 5 < report.reused < 400
    build_corpus(downloads, tmp_path / "whole", workers=1)
    assert (out / "clips.csv").read_bytes() == (tmp_path / "whole" / "clips.csv").read_bytes()
    assert (out / NAME).read_bytes() == (tmp_path / "whole" / NAME).read_bytes()


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        ("csv", "from the table here"),
        ("whisperx", "from whisperx right here"),
        ("whisper", "from whisper right here"),
        ("manual", "from people right here"),
    ],
)
def test_one_of_several_transcripts_is_chosen_by_its_kind(
    tmp_path: Path, downloads: Path, footage: Path, prefer: str, expected: str
) -> None:
    put(footage, downloads / "a.mp4")
    (downloads / "a.json").write_text(whisper("from whisper right here " * 5))
    (downloads / "a.whisperx.json").write_text(whisper("from whisperx right here " * 5, word_segments=[]))
    (downloads / "a.en.srt").write_text(srt("from people right here", 5))
    (downloads / "texts").mkdir()
    (downloads / "texts" / "a.csv").write_text(f"start,end,text\n0,20,{'from the table here ' * 5}\n")
    settings = BuildSettings(prefer=parse_preference(prefer))
    report = build_corpus(downloads, tmp_path / "corpus", settings, workers=1)
    assert expected in read_corpus(tmp_path / "corpus").clips[0].text
    assert report.notes["transcripts not needed"] == 3
    assert report.transcripts == {prefer: 1}
    assert BuildSettings().prefer[0] == "csv"


def test_other_languages_are_not_taken(tmp_path: Path, downloads: Path, footage: Path) -> None:
    put(footage, downloads / "a.mp4")
    (downloads / "a.de.srt").write_text(srt("Wir beginnen jetzt mit dem Schnitt", 5))
    (downloads / "a.en-US.srt").write_text(srt("We begin with the incision now", 5))
    report = build_corpus(downloads, tmp_path / "corpus", workers=1)
    assert "incision" in read_corpus(tmp_path / "corpus").clips[0].text
    assert report.notes["transcripts in other languages"] == 1


def test_what_is_broken_is_named_and_the_rest_goes_on(tmp_path: Path, downloads: Path, footage: Path) -> None:
    put(footage, downloads / "good.mp4")
    (downloads / "good.srt").write_text(srt(SAID, 3))
    (downloads / "good.en.vtt").write_text("rubbish")
    (downloads / "empty.mp4").touch()
    (downloads / "cut.mp4").write_bytes(footage.read_bytes()[:-400])
    (downloads / "text.mp4").write_text("this is no video " * 100)
    (downloads / "later.mp4.part").write_bytes(b"x")
    (downloads / "good.f137.mp4").write_bytes(b"x")  # joined already
    (downloads / "halves.f137.mp4").write_bytes(b"x")
    put(footage, downloads / "mute.mp4")
    (downloads / "mute.json").write_text('{"segments": [{')
    put(footage, downloads / "bad-info.mp4")
    (downloads / "bad-info.info.json").write_text("{")
    put(footage, downloads / "other" / "good.mp4")
    (downloads / "orphan.en.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nhi\n")
    (downloads / "list.info.json").write_text('{"_type": "playlist"}')
    (downloads / "notes.csv").write_text("a,b\n1,2\n")
    put(footage, downloads / "long.mp4")
    (downloads / "long.csv").write_text(
        "start,end,text\n0,9,one two\n100,109,past\n200,209,past\n300,301,x\n"
    )
    report = build_corpus(downloads, tmp_path / "corpus", workers=1)
    named = problems(report)
    assert set(named) == {
        "good.en.vtt",
        "empty.mp4",
        "cut.mp4",
        "text.mp4",
        "later.mp4.part",
        "halves.f137.mp4",
        "mute.json",
        "bad-info.info.json",
        "good.mp4",
        "orphan.en.vtt",
        "long.csv",
    }
    assert "already that of" in named["good.mp4"]
    assert "another video's" in named["long.csv"]
    corpus = read_corpus(tmp_path / "corpus")
    assert set(corpus.videos) == {"good", "bad-info"}
    assert report.left_out == 6  # a video whose one transcript is broken may be narrated
    assert report.ignored == {"left from a download": 1, "playlists": 1, "other .csv": 1}
    assert json.loads((tmp_path / "corpus" / "build.json").read_text())["left_out"] == 6


def test_a_transcript_that_could_be_of_two_videos_is_given_to_none(
    tmp_path: Path, downloads: Path, footage: Path
) -> None:
    put(footage, downloads / "one" / "a.mp4", {"id": "first"})
    put(footage, downloads / "two" / "a.mp4", {"id": "second"})
    (downloads / "a.csv").write_text("start,end,text\n0,9,one two three\n")
    report = build_corpus(downloads, tmp_path / "corpus", workers=1)
    assert "could belong to several videos" in problems(report)["a.csv"]
    assert set(read_corpus(tmp_path / "corpus").videos) == {"first", "second"}


def test_speech_rate_decides_and_inventions_over_silence_do_not_count(
    tmp_path: Path, downloads: Path, footage: Path
) -> None:
    put(footage, downloads / "spoken.mp4")
    (downloads / "spoken.srt").write_text(srt("We cut the cornea here.", 5))
    put(footage, downloads / "hummed.mp4")
    segments = [{"start": second, "end": second + 1, "text": " Thank you."} for second in range(25)]
    thanks = json.dumps({"language": "en", "segments": segments})
    (downloads / "hummed.json").write_text(thanks)
    put(footage, downloads / "sparse.mp4")
    (downloads / "sparse.srt").write_text(srt("welcome to our channel", 1))
    report = build_corpus(downloads, tmp_path / "corpus", workers=1)
    kinds = {video.video_id: video.kind for video in read_corpus(tmp_path / "corpus").videos.values()}
    assert kinds == {"spoken": "narrated", "hummed": "silent", "sparse": "silent"}
    assert report.silent_with_speech == 2
    low = build_corpus(downloads, tmp_path / "corpus", BuildSettings(min_words_per_s=0.1), workers=1)
    assert low.reused == 3, "the threshold alone reads nothing anew"
    assert low.narrated == 2
    assert any("narrated from 0.1 on" in line for line in histogram(low.rates, 0.1))
    assert sum(json.loads(json.dumps(low.as_dict()))["words_per_s_histogram"]["videos"]) == 3


def test_corrections_are_made_recorded_and_optional(tmp_path: Path, downloads: Path, footage: Path) -> None:
    put(footage, downloads / "a.mp4")
    (downloads / "a.srt").write_text(srt("Now the fake oh emulsification, then a nice rexis.", 3))
    build_corpus(downloads, tmp_path / "corpus", workers=1)
    texts = " ".join(clip.text for clip in read_corpus(tmp_path / "corpus").clips)
    assert "Now the phacoemulsification," in texts
    assert "then a nice rhexis." in texts
    rows = (tmp_path / "corpus" / "corrections.csv").read_text().splitlines()
    assert rows[0] == "video_id,start_s,heard,meant"
    assert [row.split(",")[2:] for row in rows[1:3]] == [
        ["fake oh emulsification", "phacoemulsification"],
        ["rexis", "rhexis"],
    ]
    build_corpus(downloads, tmp_path / "plain", BuildSettings(correct=False), workers=1)
    plain = " ".join(clip.text for clip in read_corpus(tmp_path / "plain").clips)
    assert "fake oh emulsification," in plain
    assert "a nice rexis." in plain


def test_a_single_word_is_a_clip_where_it_is_a_term(tmp_path: Path, downloads: Path, footage: Path) -> None:
    put(footage, downloads / "a.mp4")
    (downloads / "a.csv").write_text(
        "start,end,text\n0,9,We look at what comes next in here.\n12,13,Hydrodissection.\n16,17,okay\n"
    )
    report = build_corpus(downloads, tmp_path / "corpus", workers=1)
    texts = [clip.text for clip in read_corpus(tmp_path / "corpus").clips]
    assert "Hydrodissection." in texts
    assert "okay" not in texts
    assert report.notes["clips of 3-5 s with fewer than 2 words"] == 1


def test_splits_are_drawn_by_the_id(tmp_path: Path, downloads: Path, footage: Path) -> None:
    for number in range(40):
        os.link(footage, downloads / f"v{number}.mp4")
    build_corpus(downloads, tmp_path / "corpus", BuildSettings(test_share=0.25), workers=1)
    test = {video.video_id for video in read_corpus(tmp_path / "corpus").select(split="test")}
    assert 3 <= len(test) <= 17
    for path in list(downloads.iterdir())[:10]:
        path.unlink()
    build_corpus(downloads, tmp_path / "corpus", BuildSettings(test_share=0.25), workers=1)
    left = read_corpus(tmp_path / "corpus")
    assert {video.video_id for video in left.select(split="test")} == test & set(left.videos)


def test_odd_names_and_texts_cannot_break_the_tables(tmp_path: Path, downloads: Path, footage: Path) -> None:
    title = '\ud83d "quoted", \ttabs\u2028\x00and\x1b[31m colours \U0001f441'
    put(footage, downloads / "a, b.mp4", {"id": "ok", "title": title})
    (downloads / "a, b.json").write_text(whisper('He said: "cut", \ud800\nthen\x07 stop it here. ' * 4))
    put(footage, downloads / "slash.mp4", {"id": "a/b"})
    put(footage, downloads / f"{'x' * 200}.mp4")
    (downloads / os.fsdecode(b"bytes\xff.mp4")).write_bytes(footage.read_bytes())
    report = build_corpus(downloads, tmp_path / "corpus", workers=1)
    corpus = read_corpus(tmp_path / "corpus")
    assert set(corpus.videos) == {"ok"}
    assert corpus.videos["ok"].title == '"quoted", tabs and[31m colours \U0001f441'
    assert len(report.problems) == 3
    assert corpus.clips


def test_a_folder_with_another_corpus_is_not_overwritten(
    tmp_path: Path, downloads: Path, footage: Path
) -> None:
    put(footage, downloads / "a.mp4")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "videos.csv").write_text("precious")
    with pytest.raises(UsageError, match="another corpus"):
        build_corpus(downloads, tmp_path / "mine", workers=1)
    assert (tmp_path / "mine" / "videos.csv").read_text() == "precious"
    with pytest.raises(UsageError, match="no videos in"):
        build_corpus(tmp_path / "mine", tmp_path / "out")
    with pytest.raises(UsageError, match="must be a folder"):
        build_corpus(tmp_path / "nothing", tmp_path / "out")


def test_a_corpus_within_the_downloads_is_not_read_as_one(downloads: Path, footage: Path) -> None:
    put(footage, downloads / "a.mp4")
    (downloads / "a.srt").write_text(srt(SAID, 3))
    first = build_corpus(downloads, downloads / "corpus", workers=1)
    second = build_corpus(downloads, downloads / "corpus", workers=1)
    assert first.ignored == second.ignored == {}
    assert read_corpus(downloads / "corpus").missing_files() == []


@pytest.mark.parametrize(
    "settings",
    [
        {"windows": ()},
        {"min_words_per_s": -1.0},
        {"min_words_per_s": float("nan")},
        {"test_share": 1.0},
        {"min_words": 0},
    ],
)
def test_settings_out_of_range_are_errors(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(BuildSettings(), **settings)
    with pytest.raises(UsageError, match="did you mean"):
        parse_preference("whisperz")


def test_info_counts_what_was_built(tmp_path: Path, downloads: Path, footage: Path) -> None:
    put(footage, downloads / "a.mp4", {"id": "a", "title": "Trabeculectomy with mitomycin in glaucoma"})
    (downloads / "a.srt").write_text(srt("We make the scleral flap and cut the cornea.", 2))
    put(footage, downloads / "b.mp4")
    put(footage, downloads / "c.mp4")
    settings = BuildSettings(windows=BuildSettings().windows[:1])
    build_corpus(downloads, tmp_path / "corpus", settings, workers=1)
    (downloads / "c.mp4").unlink()
    told = corpus_info(tmp_path / "corpus").as_dict()
    assert told["videos"] == {"narrated": 1, "silent": 2, "total": 3}
    assert told["hours"] == {"narrated": 0.0083, "silent": 0.0083, "total": 0.0167}
    assert [entry["video_id"] for entry in told["unreadable_videos"]] == ["c"]
    words = " ".join(clip.text for clip in read_corpus(tmp_path / "corpus").clips).replace(".", "").split()
    assert told["words"] == len(words) >= 18
    assert told["vocabulary"] == len({word.lower() for word in words})
    assert told["splits"] == {"train": {"narrated": 1, "silent": 2}}
    assert told["attributes"]["phase"]["top"] == {"scleral flap dissection": 2}
    assert told["attributes"]["surgery"]["videos"] == 1
    assert told["attributes"]["cause"]["top"] == {"glaucoma": 1}
    assert corpus_info(tmp_path / "corpus", media=False).as_dict()["hours"]["total"] == 0
