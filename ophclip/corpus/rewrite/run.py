# SPDX-License-Identifier: Apache-2.0
"""Rewrite a corpus: replies are kept on disk under the hash of their request: none is paid for twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ophclip import console
from ophclip.corpus.manifest import Corpus
from ophclip.corpus.rewrite.batches import Batch, batches_of
from ophclip.corpus.rewrite.endpoint import Endpoint, UnreachableError
from ophclip.files import replace_file

GARBLED_ATTEMPTS = 3  # at an answer that is not what was asked for
SHOWN_REQUESTS = 2
CACHE = ".rewrite"


@dataclass(frozen=True)
class RewritePlan:
    """What a rewriting would send: its first requests, and estimates for those that are not yet answered."""

    requests: int
    answered: int
    sent_tokens: int
    received_tokens: int
    first: list[dict[str, Any]]


def plan_rewrite(corpus: Corpus, tags: dict[str, Sequence[str]], model: str, cache: Path) -> RewritePlan:
    """Count what `rewrite_corpus` would ask; nothing is sent."""
    batches = list(batches_of(corpus, tags))
    waiting = [batch for batch in batches if _kept(batch, model, cache) is None]
    tokens = [batch.tokens(model) for batch in waiting]
    return RewritePlan(
        len(batches),
        len(batches) - len(waiting),
        sum(sent for sent, _ in tokens),
        sum(received for _, received in tokens),
        [batch.body(model) for batch in waiting[:SHOWN_REQUESTS]],
    )


def rewrite_corpus(
    corpus: Corpus,
    tags: dict[str, Sequence[str]],
    endpoint: Endpoint,
    cache: Path,
    *,
    threads: int = 4,
) -> tuple[Corpus, int, list[tuple[str, str]]]:
    """Return the corpus with clips and structured titles rewritten, how many were, and what failed.

    What the endpoint does not answer well keeps its text and is told as (what, why). Answers are kept in the
    folder `cache`: an interrupted run goes on, and a finished one costs nothing to repeat.

    Raises:
        UsageError: the endpoint refuses requests for good.
        UnreachableError: it never answered at all.
    """
    batches = list(batches_of(corpus, tags))
    answers = {batch: kept for batch in batches if (kept := _kept(batch, endpoint.model, cache)) is not None}
    failed: list[tuple[str, str]] = []
    waiting = [batch for batch in batches if batch not in answers]
    with console.progress("rewrite", len(batches), "requests") as bar:
        bar.advance(len(answers))
        pool = ThreadPoolExecutor(threads)
        try:
            futures = {pool.submit(_ask, batch, endpoint, cache): batch for batch in waiting}
            for future in as_completed(futures):
                batch = futures[future]
                try:
                    answers[batch] = future.result()
                except UnreachableError as error:
                    if not answers:
                        raise
                    failed.append((f"{batch.kind} {batch.ids[0]} to {batch.ids[-1]}", error.message))
                bar.advance()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return _rewritten(corpus, answers), sum(len(batch.ids) for batch in answers), sorted(failed)


def _ask(batch: Batch, endpoint: Endpoint, cache: Path) -> tuple[str, ...]:
    problem = ""
    for _ in range(GARBLED_ATTEMPTS):
        content = endpoint.ask(batch.body(endpoint.model))
        texts = batch.read(content)
        if not isinstance(texts, str):
            path = _path(batch, endpoint.model, cache)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps({"content": content}).encode())
            return texts
        problem = texts
    raise UnreachableError(
        f"{GARBLED_ATTEMPTS} answers could not be used, the last: {problem}", remedy="try another model"
    )


def _kept(batch: Batch, model: str, cache: Path) -> tuple[str, ...] | None:
    try:
        texts = batch.read(json.loads(_path(batch, model, cache).read_bytes())["content"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if isinstance(texts, str) else texts


def _path(batch: Batch, model: str, cache: Path) -> Path:
    key = batch.key(model)
    return cache / key[:2] / f"{key}.json"


def _rewritten(corpus: Corpus, answers: dict[Batch, tuple[str, ...]]) -> Corpus:
    texts = {
        (batch.kind, key): text
        for batch, answer in answers.items()
        for key, text in zip(batch.ids, answer, strict=True)
    }
    videos = {
        video_id: replace(video, title_structured=texts.get(("titles", video_id), video.title_structured))
        for video_id, video in corpus.videos.items()
    }
    clips = [replace(clip, text=texts.get(("clips", clip.clip_id), clip.text)) for clip in corpus.clips]
    return Corpus(corpus.root, videos, clips)
