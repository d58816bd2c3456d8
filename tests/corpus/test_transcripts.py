# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophclip.corpus.transcripts import Cue, Transcript, Word, read_transcript, timed_words
from ophclip.corpus.transcripts.cues import in_order
from ophclip.errors import OphclipError

SCROLL = """WEBVTT
Kind: captions
Language: en

00:00:00.160 --> 00:00:02.389 align:start position:0%
 
hello<00:00:00.480><c> everyone</c><00:00:00.880><c> welcome</c>

00:00:02.389 --> 00:00:02.399 align:start position:0%
hello everyone welcome
 

00:00:02.399 --> 00:00:04.000 align:start position:0%
hello everyone welcome
to<00:00:02.900><c> this</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
to this
 

00:00:04.010 --> 00:00:05.000 align:start position:0%
to this
case
"""  # noqa: W293


def read(folder: Path, name: str, content: str | bytes | object) -> tuple[str, Transcript]:
    path = folder / name
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = read_transcript(path)
    assert found is not None
    return found


def texts(transcript: Transcript) -> list[str]:
    return [cue.text for cue in transcript.cues]


def error_of(folder: Path, name: str, content: str | bytes) -> OphclipError:
    with pytest.raises(OphclipError) as caught:
        read(folder, name, content)
    assert name in caught.value.message
    assert caught.value.remedy
    return caught.value


def test_scrolling_captions_come_once_with_the_times_of_their_words(tmp_path: Path) -> None:
    kind, transcript = read(tmp_path, "a.en.vtt", SCROLL)
    assert kind == "auto"
    assert transcript.language == "en"
    assert texts(transcript) == ["hello everyone welcome", "to this", "case"]
    words = timed_words(transcript.cues)
    assert [Word(round(word.start_s, 6), round(word.end_s, 6), word.text) for word in words] == [
        Word(0.16, 0.48, "hello"),
        Word(0.48, 0.88, "everyone"),
        Word(0.88, 2.389, "welcome"),
        Word(2.399, 2.9, "to"),
        Word(2.9, 4.0, "this"),
        Word(4.01, 5.0, "case"),
    ]


def test_scrolling_captions_whose_blank_lines_lost_their_space_are_read_the_same(tmp_path: Path) -> None:
    stripped = "\n".join(line.rstrip() for line in SCROLL.split("\n"))
    assert read(tmp_path, "a.vtt", stripped)[1].cues == read(tmp_path, "b.vtt", SCROLL)[1].cues


def test_a_scroll_that_was_converted_to_srt_is_unrolled(tmp_path: Path) -> None:
    lines = ["one two", "three four", "five six", "seven eight"]
    blocks = ["1\n00:00:00,000 --> 00:00:02,000\none two\n"]
    blocks += [
        f"{2 * index}\n00:00:0{2 * index},000 --> 00:00:0{2 * index},010\n{lines[index - 1]}\n\n"
        f"{2 * index + 1}\n00:00:0{2 * index},010 --> 00:00:0{2 * index + 2},000\n"
        f"{lines[index - 1]}\n{lines[index]}\n"
        for index in range(1, 4)
    ]
    kind, transcript = read(tmp_path, "a.srt", "\n".join(blocks))
    assert kind == "manual"  # nothing in it says who made it
    assert texts(transcript) == lines


def test_people_may_repeat_themselves_in_subtitles(tmp_path: Path) -> None:
    said = ["Okay.", "Okay.", "Next step.", "We cut.", "We cut.", "The lens.", "It unfolds.", "Done."]
    blocks = [
        f"{i + 1}\n00:00:{2 * i:02d},000 --> 00:00:{2 * i + 1:02d},500\n{text}\n"
        for i, text in enumerate(said)
    ]
    assert texts(read(tmp_path, "a.srt", "\n".join(blocks))[1]) == said


def test_markup_entities_notes_and_styles_are_not_text(tmp_path: Path) -> None:
    content = (
        "\ufeffWEBVTT - title\n\nSTYLE\n::cue { color: red }\n\nNOTE a remark\n\nid-1\n"
        "01:02.500 --> 01:04.000 line:0\n<v Dr K>irrigation &amp; <i>aspiration</i>\nof the cortex\n"
    )
    _, transcript = read(tmp_path, "a.vtt", content)
    assert transcript.cues == [Cue(62.5, 64.0, "irrigation & aspiration of the cortex")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_are_guessed(tmp_path: Path, encoding: str, newline: str) -> None:
    content = "1\n00:00:01,000 --> 00:00:02,000\nMüller's muscle\n".replace("\n", newline)
    _, transcript = read(tmp_path, "a.srt", content.encode(encoding))
    assert texts(transcript) == ["Müller's muscle"]
    assert bool(transcript.notes) == (encoding == "cp1252")


def test_srt_without_blank_lines_between_cues_loses_no_numbers_into_the_text(tmp_path: Path) -> None:
    content = "1\n00:00:01,000 --> 00:00:02,000\nfirst\n2\n00:00:03,000 --> 00:00:04,000\nsecond\n"
    assert texts(read(tmp_path, "a.srt", content)[1]) == ["first", "second"]


def segment(start: Any, end: Any, text: str, **more: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "text": text, **more}


def test_whisper_words_keep_their_times_and_pieces_join(tmp_path: Path) -> None:
    words = [
        {"word": " anti", "start": 1.0, "end": 1.4},
        {"word": "-VEGF", "start": 1.4, "end": 2.0},
        {"word": " drug.", "start": 2.1, "end": 2.5},
    ]
    content = {"language": "en", "segments": [segment(1, 2.5, " anti-VEGF drug.", words=words)]}
    kind, transcript = read(tmp_path, "a.json", content)
    assert kind == "whisper"
    assert timed_words(transcript.cues) == [Word(1.0, 2.0, "anti-VEGF"), Word(2.1, 2.5, "drug.")]


def test_whisperx_words_without_times_lie_between_their_neighbours(tmp_path: Path) -> None:
    words = [
        {"word": "a", "start": 1.0, "end": 1.2, "score": 0.9},
        {"word": "2.4"},
        {"word": "blade", "start": 2.0, "end": 2.4, "score": 0.8},
    ]
    content = {"segments": [segment(1, 2.4, "a 2.4 blade", words=words)], "word_segments": words}
    kind, transcript = read(tmp_path, "a.json", content)
    assert kind == "whisperx"
    assert timed_words(transcript.cues)[1] == Word(1.2, 2.0, "2.4")


def test_segments_that_the_recogniser_doubts_are_left_out_and_counted(tmp_path: Path) -> None:
    segments = [
        segment(0, 2, "Kept.", no_speech_prob=0.9, avg_logprob=-0.2),
        segment(2, 4, "Silence.", no_speech_prob=0.9, avg_logprob=-1.5),
        segment(4, 6, "Loop loop loop", compression_ratio=5.0),
        segment(6, 8, "Also kept.", no_speech_prob=float("nan"), avg_logprob=float("-inf")),
        segment("x", 8, "no time"),
        "rubbish",
    ]
    _, transcript = read(tmp_path, "a.json", {"segments": segments})
    assert texts(transcript) == ["Kept.", "Also kept."]
    assert transcript.notes == {"segments that the recogniser doubts": 2, "segments without text or times": 2}


def test_whisper_cpp_and_bare_lists_of_segments_are_read(tmp_path: Path) -> None:
    cpp = {"transcription": [{"offsets": {"from": 500, "to": 1500}, "text": " Hello."}]}
    assert read(tmp_path, "a.json", cpp)[1].cues == [Cue(0.5, 1.5, "Hello.")]
    assert texts(read(tmp_path, "b.json", [segment(0, 1, "x")])[1]) == ["x"]


def test_lineage_tables_are_read_and_their_bad_rows_told(tmp_path: Path) -> None:
    content = '\ufeffstart,end,text,b\n0,2.5,"We, the cornea",x\n5,4,backwards,x\n,1,no start,x\n6,7,ok,x\n'
    kind, transcript = read(tmp_path, "a.csv", content)
    assert kind == "csv"
    assert transcript.cues == [Cue(0.0, 2.5, "We, the cornea"), Cue(6.0, 7.0, "ok")]
    assert transcript.problem == "2 bad rows, the first on line 3"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "video_path\nx.mp4\n"), ("a.json", '{"id": "x"}'), ("b.json", "[1, 2]"), ("c.json", '"text"')],
)
def test_other_tables_and_json_are_no_transcripts(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_transcript(tmp_path / name) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.vtt", b""),
        ("a.srt", b"  \n"),
        ("a.srt", b"no cues here"),
        ("a.vtt", b"\x00\x01\xff\xfe binary"),
        ("a.json", b'{"segments": [{"start": 0,'),
        ("a.json", b'{"segments": [{"text": "no times"}]}'),
        ("a.json", b"[" * 100_000),
    ],
)
def test_broken_files_are_errors_that_name_them(tmp_path: Path, name: str, content: bytes) -> None:
    error_of(tmp_path, name, content)


def test_an_empty_webvtt_file_says_that_nothing_is_said(tmp_path: Path) -> None:
    assert read(tmp_path, "a.vtt", "WEBVTT\n\n")[1].cues == []


def test_times_are_set_in_order_and_everything_left_out_is_counted() -> None:
    notes: Counter[str] = Counter()
    cues = [
        Cue(5, 6, "b"),
        Cue(-2, 1, "a"),
        Cue(4, 4, "none"),
        Cue(-3, -1, "before"),
        Cue(float("nan"), 2, "nan"),
    ]
    assert in_order(cues, notes) == [Cue(0.0, 1, "a"), Cue(5, 6, "b")]
    assert notes == {
        "cues out of order": 1,
        "cues cut at 0 s": 1,
        "cues that end before they start": 1,
        "cues before 0 s": 1,
        "cues without a finite time": 1,
    }


def test_simultaneous_and_overlapping_cues_are_not_torn_into_each_other() -> None:
    cues = [Cue(0, 3, "one two"), Cue(0, 4, "three four"), Cue(2, 6, "five six")]
    assert " ".join(word.text for word in timed_words(cues)) == "one two three four five six"


times = st.one_of(st.floats(-5, 100), st.sampled_from([float("nan"), float("inf")]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.builds(Cue, times, times, st.sampled_from(["a", "b c", "d, e f.", " "])), max_size=8))
def test_words_are_in_order_whatever_the_cues(cues: list[Cue]) -> None:
    notes: Counter[str] = Counter()
    kept = in_order(cues, notes)
    words = timed_words(kept)
    assert [word.start_s for word in words] == sorted(word.start_s for word in words)
    assert all(0 <= word.start_s <= word.end_s for word in words)
    assert sorted(text for word in words for text in word.text.split()) == sorted(
        text for cue in kept for text in cue.text.split()
    )
