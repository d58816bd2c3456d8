# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ophclip import console
from ophclip.cli.options import json_option, quiet_option
from ophclip.errors import EXIT_OK, EXIT_PARTIAL, UsageError

if TYPE_CHECKING:
    from ophclip.corpus.builder import BuildReport
    from ophclip.corpus.rewrite import RewritePlan

SHOWN_PROBLEMS = 20  # on the terminal; build.json has all


@click.command()
@click.argument("downloads", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the corpus.")
@click.option(
    "--window-s",
    "windows",
    multiple=True,
    metavar="MIN-MAX",
    default=("3-5", "8-15"),
    show_default="3-5 and 8-15",
    help="Lengths of clips in seconds; several give clips of several lengths.",
)
@click.option(
    "--min-words-per-s",
    default=0.25,
    show_default=True,
    help="Words in each second of the whole video from which on it is narrated.",
)
@click.option("--language", default="en", show_default=True, help="Language of the transcripts.")
@click.option(
    "--prefer",
    default="csv,whisperx,whisper,manual,auto",
    show_default=True,
    help="Which kind of transcript to take where there are several.",
)
@click.option("--no-correct", is_flag=True, help="Leave misheard terms as they are.")
@click.option(
    "--min-words", default=2, show_default=True, help="Clips with fewer that name no term are left out."
)
@click.option("--test-share", default=0.0, show_default=True, help="Share of the videos in the split test.")
@click.option("--rewrite", "url", metavar="URL", help="OpenAI-like API that rewrites clips and titles.")
@click.option("--model", help="Name of the model at --rewrite.")
@click.option(
    "--api-key-env",
    default="OPENAI_API_KEY",
    show_default=True,
    help="Environment variable with the key for --rewrite, if it needs one.",
)
@click.option(
    "--requests-per-minute", type=click.FloatRange(min=0, min_open=True), help="At most, at --rewrite."
)
@click.option("--dry-run", is_flag=True, help="With --rewrite: show first requests and cost; write nothing.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one a CPU]")
@json_option
@quiet_option
def build(
    downloads: Path,
    out: Path,
    windows: tuple[str, ...],
    min_words_per_s: float,
    language: str,
    prefer: str,
    no_correct: bool,
    min_words: int,
    test_share: float,
    url: str | None,
    model: str | None,
    api_key_env: str,
    requests_per_minute: float | None,
    dry_run: bool,
    workers: int | None,
    as_json: bool,
) -> int:
    """Build a corpus from a folder of downloads: videos, their .info.json, and transcripts.

    Transcripts are VTT, SRT, the JSON of Whisper and WhisperX, and CSV (start,end,text). Files that cannot be
    used are listed and the exit code is 3. The same command again reads only what is new or changed.
    """
    from ophclip.corpus.builder import BuildSettings, build_corpus
    from ophclip.corpus.builder.settings import parse_preference
    from ophclip.corpus.rewrite import CACHE, Endpoint, RewriteStep
    from ophclip.corpus.sentences import Window

    settings = BuildSettings(
        windows=tuple(Window.parse(text) for text in windows),
        min_words_per_s=min_words_per_s,
        language=language,
        prefer=parse_preference(prefer),
        correct=not no_correct,
        min_words=min_words,
        test_share=test_share,
    )
    if (url is None) != (model is None) or (dry_run and url is None):
        raise UsageError(
            "--rewrite needs --model, and --dry-run both", remedy="pass --rewrite URL --model NAME"
        )
    rewriter = None
    if url is not None and model is not None:
        key = os.environ.get(api_key_env) or None
        endpoint = Endpoint(url, model, api_key=key, requests_per_minute=requests_per_minute)
        rewriter = RewriteStep(endpoint, out / CACHE, dry_run)
    report = build_corpus(downloads, out, settings, workers=workers, rewrite=rewriter, dry_run=dry_run)
    if dry_run and rewriter is not None and rewriter.plan is not None:
        _print_plan(rewriter.plan, as_json)
    elif as_json:
        console.emit_json(report.as_dict())
    else:
        _print(report)
    return EXIT_PARTIAL if report.problems else EXIT_OK


def _print_plan(plan: RewritePlan, as_json: bool) -> None:
    if as_json:
        console.emit_json(dataclasses.asdict(plan))
        return
    for body in plan.first:
        console.emit(json.dumps(body, indent=2, ensure_ascii=False))
    console.emit(
        f"{plan.requests} requests, {plan.answered} of them answered already; the others take about "
        f"{plan.sent_tokens:,} tokens sent and {plan.received_tokens:,} received"
    )


def _print(report: BuildReport) -> None:
    from ophclip.corpus.builder import histogram

    if report.rates:
        for line in histogram(report.rates, report.threshold):
            console.emit(line)
    silent = report.videos - report.narrated
    console.emit(
        f"{report.out}: {report.videos} videos, {report.narrated} narrated "
        f"({report.narrated_s / 3600:.2f} h) "
        f"and {silent} silent ({report.silent_s / 3600:.2f} h)"
    )
    if report.silent_with_speech:
        console.emit(
            f"{report.silent_with_speech} silent ones have a transcript with fewer than {report.threshold:g} "
            "words a second (--min-words-per-s)"
        )
    clips = ", ".join(f"{count} of {label} s" for label, count in report.clips.items())
    console.emit(f"clips: {clips}; {report.words} words, {report.repairs} misheard terms mended")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.transcripts.items())) or "none"
    console.emit(f"transcripts: {kinds}; structured titles: {report.structured_titles} of {report.videos}")
    if report.rewritten:
        console.emit(f"{report.rewritten} clips and titles rewritten")
    for note, count in sorted(report.notes.items()):
        console.emit(f"note: {count} {note}")
    if report.ignored:
        ignored = ", ".join(f"{count} {what}" for what, count in sorted(report.ignored.items()))
        console.emit(f"other files: {ignored}")
    for file, problem in report.problems[:SHOWN_PROBLEMS]:
        console.emit(f"problem: {file}: {problem}")
    if len(report.problems) > SHOWN_PROBLEMS:
        console.emit(f"... and {len(report.problems) - SHOWN_PROBLEMS} more: all are in build.json")
    if report.left_out:
        console.emit(f"{report.left_out} videos are not in the corpus for these problems")
