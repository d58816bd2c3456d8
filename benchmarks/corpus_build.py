# SPDX-License-Identifier: Apache-2.0
"""How fast downloads become a corpus: generates a folder of them, then times `ophclip corpus build`'s work.

    python benchmarks/corpus_build.py [--videos 2000] [--minutes 5] [--workers 1] [--keep FOLDER]

Two videos in three are narrated, with the simulator's sentences at 2.5 words a second; their transcripts are,
in turn, automatic captions that scroll, WhisperX, Whisper, SRT and the lineage's CSV. All videos are one file
by hard links, for what is in them is not looked at.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from ophclip import console
from ophclip.corpus.build import build_corpus
from ophclip.corpus.simulate.narration import draw_sentence
from ophclip.corpus.simulate.vocabulary import PHASES, PROCEDURES
from ophclip.video import write_video

WORD_S = 0.4
Utterance = tuple[float, float, list[str]]


def generate(root: Path, videos: int, seconds: float, seed: int = 0) -> int:
    """Write a folder of downloads and return how many words are said in it."""
    root.mkdir(parents=True, exist_ok=True)
    footage = root / "video00000.mp4"
    frames = (np.full((32, 32, 3), index % 256, np.uint8) for index in range(int(seconds)))
    write_video(footage, frames, 1)
    words = 0
    for number in range(videos):
        name = f"video{number:05d}"
        if number:
            os.link(footage, root / f"{name}.mp4")
        rng = np.random.default_rng([seed, number])
        title = f"{PROCEDURES[number % len(PROCEDURES)].name} {number} | Dr A"
        (root / f"{name}.info.json").write_text(
            json.dumps({"id": name, "title": title, "tags": ["eye surgery"]})
        )
        if number % 3:
            spoken = speak(rng, seconds)
            words += sum(len(texts) for _, _, texts in spoken)
            write_transcript(root / name, number % 5, spoken)
    return words


def speak(rng: np.random.Generator, seconds: float) -> list[Utterance]:
    """Draw what is said over a video of this length."""
    phases = [term.key for term in PHASES]
    said: list[Utterance] = []
    start_s = 1.0
    while start_s < seconds - 20:
        texts = draw_sentence(rng, phases[int(rng.integers(len(phases)))]).split()
        end_s = start_s + WORD_S * len(texts)
        said.append((start_s, end_s, texts))
        start_s = end_s + float(rng.exponential(1.0))
    return said


def write_transcript(stem: Path, kind: int, said: list[Utterance]) -> None:
    """Write what is said as one of five kinds of transcript."""
    if kind == 0:
        stem.with_suffix(".en.vtt").write_text(scrolling(said))
    elif kind in (1, 2):
        space = "" if kind == 1 else " "
        segments = [
            {
                "start": start_s,
                "end": end_s,
                "text": " " + " ".join(texts),
                "words": [timed(space + text, start_s + WORD_S * index) for index, text in enumerate(texts)],
            }
            for start_s, end_s, texts in said
        ]
        data = {"language": "en", "segments": segments} | ({"word_segments": []} if kind == 1 else {})
        stem.with_suffix(".json").write_text(json.dumps(data))
    elif kind == 3:
        blocks = [
            f"{index + 1}\n{stamp(start_s, ',')} --> {stamp(end_s, ',')}\n{' '.join(texts)}\n"
            for index, (start_s, end_s, texts) in enumerate(said)
        ]
        stem.with_suffix(".srt").write_text("\n".join(blocks))
    else:
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(["start", "end", "text"])
        writer.writerows([start_s, end_s, " ".join(texts)] for start_s, end_s, texts in said)
        stem.with_suffix(".csv").write_text(table.getvalue())


def timed(text: str, start_s: float) -> dict[str, object]:
    """Return a word of a recogniser's JSON."""
    return {"word": text, "start": start_s, "end": start_s + WORD_S}


def scrolling(said: list[Utterance]) -> str:
    """Return automatic captions: two lines that scroll, with a time before each word but the first."""
    lines = ["WEBVTT", "Kind: captions", "Language: en", ""]
    above = " "
    for start_s, end_s, texts in said:
        marks = [f"<{stamp(start_s + WORD_S * index, '.')}>" for index in range(len(texts))]
        line = texts[0] + "".join(
            f"{mark}<c> {text}</c>" for mark, text in zip(marks[1:], texts[1:], strict=True)
        )
        place = "align:start position:0%"
        lines += [f"{stamp(start_s, '.')} --> {stamp(end_s, '.')} {place}", above, line, ""]
        above = " ".join(texts)
        lines += [f"{stamp(end_s, '.')} --> {stamp(end_s + 0.01, '.')} {place}", above, " ", ""]
    return "\n".join(lines)


def stamp(time_s: float, mark: str) -> str:
    """Return a time as subtitles write it."""
    milliseconds = round(time_s * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


def main() -> None:
    """Generate, build twice, print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="write here, and leave it there")
    options = parser.parse_args()
    console.set_quiet(True)
    with tempfile.TemporaryDirectory() as temporary:
        root = (options.keep or Path(temporary)) / "downloads"
        words = generate(root, options.videos, options.minutes * 60)
        out = root.parent / "corpus"
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        report = build_corpus(root, out, workers=options.workers)
        first_s, first_cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        start_s = time.perf_counter()
        again = build_corpus(root, out, workers=options.workers)
        again_s = time.perf_counter() - start_s
        same = before == {path.name: path.read_bytes() for path in out.iterdir()}
    clips = report.clips.total()
    figures = {
        "videos": report.videos,
        "narrated": report.narrated,
        "words": words,
        "clips": clips,
        "seconds": round(first_s, 2),
        "cpu_seconds_of_this_process": round(first_cpu_s, 2),
        "clips_per_s": round(clips / first_s),
        "words_per_s": round(words / first_s),
        "again_seconds": round(again_s, 2),
        "again_reused": again.reused,
        "same_bytes": same,
        "problems": len(report.problems),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
