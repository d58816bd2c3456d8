# SPDX-License-Identifier: Apache-2.0
"""What is asked: passages and titles in batches, each a request whose hash is its name."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from ophclip.corpus.manifest import Clip, Corpus, Video

Kind = Literal["clips", "titles"]

CLIPS_A_REQUEST = 16  # of one video, so that each stands in its context
TITLES_A_REQUEST = 10
CHARACTERS_A_TOKEN = 4  # of English, roughly: for estimates only
MAX_GROWTH = 3  # a reply may be this many times as long as what was asked ...
FREE_CHARACTERS = 200  # ... and this much longer: else the model told stories

_FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")


@dataclass(frozen=True)
class Batch:
    """One request: the texts to rewrite, and the ids of the clips or videos that they belong to."""

    kind: Kind
    ids: tuple[str, ...]
    texts: tuple[str, ...]

    def body(self, model: str) -> dict[str, Any]:
        """Return the JSON of the request."""
        return {
            "model": model,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": _prompts()[self.kind]},
                {"role": "user", "content": json.dumps({"texts": self.texts}, ensure_ascii=False)},
            ],
        }

    def key(self, model: str) -> str:
        """Return the hash of all that a reply depends on: prompt, its version, model and texts."""
        told = json.dumps([_prompts()["version"], self.body(model)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def tokens(self, model: str) -> tuple[int, int]:
        """Return about how many tokens a request takes, sent and received."""
        sent = sum(len(message["content"]) for message in self.body(model)["messages"])
        return sent // CHARACTERS_A_TOKEN + 1, sum(map(len, self.texts)) // CHARACTERS_A_TOKEN + 8

    def read(self, content: str) -> tuple[str, ...] | str:
        """Return the rewritten texts, or what is wrong with the model's answer."""
        try:
            texts = json.loads(_FENCE.sub("", content.strip()))["texts"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return "the answer must be a JSON object with texts"
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return "the answer must have a list of texts"
        if len(texts) != len(self.texts):
            return f"the answer must have {len(self.texts)} texts, got {len(texts)}"
        cleaned = tuple(" ".join(text.encode("utf-8", "ignore").decode("utf-8").split()) for text in texts)
        for asked, text in zip(self.texts, cleaned, strict=True):
            if not text or len(text) > MAX_GROWTH * len(asked) + FREE_CHARACTERS:
                return f"a text must not be empty or far longer than asked, got {len(text)} characters"
        return cleaned


def batches_of(corpus: Corpus, tags: dict[str, Sequence[str]]) -> Iterator[Batch]:
    """Return the requests for a corpus: its clips video by video, then its titles."""
    run: list[Clip] = []
    for clip in corpus.clips:
        if run and (len(run) == CLIPS_A_REQUEST or clip.video_id != run[-1].video_id):
            yield _clip_batch(run)
            run = []
        run.append(clip)
    if run:
        yield _clip_batch(run)
    videos = [video for video in corpus.videos.values() if video.title]
    for start in range(0, len(videos), TITLES_A_REQUEST):
        part = videos[start : start + TITLES_A_REQUEST]
        texts = tuple(_title_text(video, tags.get(video.video_id, ())) for video in part)
        yield Batch("titles", tuple(video.video_id for video in part), texts)


def _title_text(video: Video, tags: Sequence[str]) -> str:
    return f"{video.title}\ntags: {', '.join(tags)}\nattempt: {video.title_structured}"


def _clip_batch(clips: Sequence[Clip]) -> Batch:
    return Batch("clips", tuple(clip.clip_id for clip in clips), tuple(clip.text for clip in clips))


@cache
def _prompts() -> dict[str, Any]:
    text = files("ophclip.corpus.rewrite").joinpath("prompts.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return {
        "version": data["version"],
        "clips": data["clips"]["system"].strip(),
        "titles": data["titles"]["system"].strip(),
    }
