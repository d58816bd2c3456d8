# SPDX-License-Identifier: Apache-2.0
"""Build a corpus: examine the videos in processes, decide what is narrated, and write the tables."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ophclip import console
from ophclip.corpus.build.downloads import Download, find_downloads
from ophclip.corpus.build.memo import Memo, as_dict, claim
from ophclip.corpus.build.report import BuildReport
from ophclip.corpus.build.settings import BuildSettings
from ophclip.corpus.build.video import VideoResult, examine
from ophclip.corpus.lexicon import load_tagger, structured_title
from ophclip.corpus.manifest import Clip, Corpus, Video, write_corpus
from ophclip.corpus.tables import write_rows
from ophclip.errors import OphclipError, UsageError
from ophclip.files import replace_file

REPORT = "build.json"
CORRECTIONS = "corrections.csv"
CORRECTION_COLUMNS = ("video_id", "start_s", "heard", "meant")
VIDEOS_A_WORKER = 32  # fewer are sooner read than a process is started

Tags = dict[str, Sequence[str]]  # by video id
Rewriter = Callable[[Corpus, Tags, BuildReport], Corpus]


def build_corpus(
    downloads: Path,
    out: Path,
    settings: BuildSettings | None = None,
    *,
    workers: int | None = None,
    rewrite: Rewriter | None = None,
    dry_run: bool = False,
) -> BuildReport:
    """Build a corpus in the folder `out` from what lies in the folder `downloads`, and return what was done.

    Writes `clips.csv`, `corrections.csv`, `build.json` and last `videos.csv`; each file is replaced whole, and
    the same downloads and settings give the same bytes, however often and with however many `workers`. What
    is wrong with a file is told in the report's `problems`, and does not stop the others. `rewrite` is given
    the corpus before it is written, with the tags of each video, and returns the one to write. With `dry_run`
    no table is written.

    Raises:
        UsageError: `downloads` is no folder or holds no video, or `out` holds another corpus.
        OphclipError: the corpus cannot be written.
    """
    settings = settings or BuildSettings()
    downloads, out = Path(downloads).absolute(), Path(out).absolute()
    if not downloads.is_dir():
        raise UsageError(f"{downloads} must be a folder of downloads", remedy="check the path")
    console.say(f"looking through {downloads}")
    found = find_downloads(downloads, leave_out=out)
    if not found.videos:
        raise UsageError(f"no videos in {downloads}", remedy="download some with yt-dlp, or check the path")
    try:
        claim(out)
        report = BuildReport(str(out), ignored=found.ignored, threshold=settings.min_words_per_s)
        with Memo(out, settings) as memo:
            results = _examine_all(found.videos, settings, memo, workers, report)
            report.problems += [(str(path), problem) for path, problem in found.problems]
            corpus = _assemble(results, out, settings, report)
            if rewrite is not None:
                corpus = rewrite(corpus, _tags(results), report)
            if not dry_run:
                _write(corpus, results, out, settings, report, downloads)
    except OSError as error:
        raise OphclipError(
            f"cannot write {error.filename or out}: {error.strerror or error}",
            remedy="check the folder and the free space, then run the same command again: it goes on",
        ) from error
    return report


def _examine_all(
    videos: Sequence[Download],
    settings: BuildSettings,
    memo: Memo,
    workers: int | None,
    report: BuildReport,
) -> list[VideoResult]:
    keys = [memo.key(video) for video in videos]
    results: list[VideoResult | None] = [memo.find(key) for key in keys]
    todo = [index for index, result in enumerate(results) if result is None]
    report.reused = len(videos) - len(todo)
    with console.progress("corpus", len(videos), "videos") as bar:
        bar.advance(report.reused)
        task = partial(examine, settings=settings)
        with _each(task, [videos[index] for index in todo], workers) as done:
            for index, result in zip(todo, done, strict=True):
                memo.add(keys[index], result)
                results[index] = result
                bar.advance()
    return [result for result in results if result is not None]


@contextmanager
def _each(
    task: partial[VideoResult], videos: Sequence[Download], workers: int | None
) -> Iterator[Iterator[VideoResult]]:
    """Give the results in the order of the videos, made in this process or in several."""
    count = min(workers or _num_cpus(), max(1, len(videos) // VIDEOS_A_WORKER)) if workers != 1 else 1
    if count == 1:
        yield map(task, videos)
        return
    # Spawned, not forked: the caller may run threads of torch or of a decoder.
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool.map(task, videos, chunksize=4)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _assemble(
    results: Sequence[VideoResult], out: Path, settings: BuildSettings, report: BuildReport
) -> Corpus:
    videos: dict[str, Video] = {}
    clips: list[Clip] = []
    tagger = load_tagger()
    report.clips.update({window.label: 0 for window in settings.windows})
    for result in results:
        report.problems += result.problems
        if not result.fatal and result.video_id in videos:
            first = videos[result.video_id].path
            report.problems.append((result.path, f"its id {result.video_id!r} is already that of {first}"))
            result.fatal = True
        if result.fatal:
            report.left_out += 1
            continue
        narrated = bool(result.clips) and result.words_per_s >= settings.min_words_per_s
        mentions = {(category, term): count for category, term, count in result.mentions} if narrated else {}
        title = structured_title(tagger, result.title, result.tags, mentions)
        videos[result.video_id] = Video(
            result.video_id,
            Path(result.path),
            "narrated" if narrated else "silent",
            result.title,
            title,
            split_of(result.video_id, settings.test_share),
        )
        if narrated:
            clips += _clips(result)
            report.clips.update(label for label, *_ in result.clips)
        _count(result, narrated, bool(title), report)
    return Corpus(out, videos, clips)


def split_of(video_id: str, test_share: float) -> str:
    """Return "test" for about a share of all ids, always the same ones, else "train"."""
    place = int.from_bytes(hashlib.sha256(video_id.encode("utf-8")).digest()[:8], "big") / 2**64
    return "test" if place < test_share else "train"


def _clips(result: VideoResult) -> Iterator[Clip]:
    numbers: dict[str, int] = {}
    for label, start_s, end_s, text in result.clips:
        number = numbers[label] = numbers.get(label, -1) + 1
        yield Clip(f"{result.video_id}_w{label}_{number:05d}", result.video_id, start_s, end_s, text)


def _count(result: VideoResult, narrated: bool, has_title: bool, report: BuildReport) -> None:
    report.videos += 1
    report.structured_titles += has_title
    report.notes.update(result.notes)
    if result.transcript_kind is not None:
        report.transcripts[result.transcript_kind] += 1
        report.rates.append(result.words_per_s)
    if narrated:
        report.narrated += 1
        report.narrated_s += result.duration_s
        report.words += result.words
        report.repairs += len(result.repairs)
        return
    report.silent_s += result.duration_s
    if result.transcript_kind is None:
        report.silent_without_transcript += 1
    else:
        report.silent_with_speech += 1


def _tags(results: Sequence[VideoResult]) -> Tags:
    return {result.video_id: result.tags for result in results if not result.fatal}


def _write(
    corpus: Corpus,
    results: Sequence[VideoResult],
    out: Path,
    settings: BuildSettings,
    report: BuildReport,
    downloads: Path,
) -> None:
    rows = (
        (result.video_id, repr(start_s), heard, meant)
        for result in results
        if not result.fatal and corpus.videos[result.video_id].kind == "narrated"
        for start_s, heard, meant in result.repairs
    )
    write_rows(out / CORRECTIONS, CORRECTION_COLUMNS, rows)
    told = {"downloads": str(downloads), "settings": as_dict(settings), **report.as_dict()}
    replace_file(out / REPORT, (json.dumps(told, indent=2) + "\n").encode())
    write_corpus(corpus, out)
