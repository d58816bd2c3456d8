# SPDX-License-Identifier: Apache-2.0
"""The counts of a corpus that a paper's data table gives: videos, hours, clips, words, terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from ophclip import console
from ophclip.corpus.lexicon import CATEGORIES, load_tagger
from ophclip.corpus.lexicon.normal import normal_words
from ophclip.corpus.manifest import Video, read_corpus
from ophclip.errors import OphclipError
from ophclip.video.header import stated_duration_s

TOP_TERMS = 5
THREADS = 8  # headers are read over a network, often


@dataclass
class CategoryCounts:
    """How often the terms of one category are named; `terms` counts the clips and titles that name each."""

    mentions: int = 0
    clips: int = 0
    videos: set[str] = field(default_factory=set)
    terms: Counter[str] = field(default_factory=Counter)

    def top(self) -> list[tuple[str, int]]:
        """Return the terms named most often, equals by name."""
        return sorted(self.terms.items(), key=lambda item: (-item[1], item[0]))[:TOP_TERMS]


@dataclass
class CorpusInfo:
    """The counts of one corpus. Hours are of the videos whose length could be read."""

    path: Path
    videos: Counter[str]  # by kind
    splits: dict[str, Counter[str]]  # by split, then kind
    hours: dict[str, float]  # by kind
    unreadable: list[tuple[str, str]]  # video id, why its length is not known
    clips: int
    clip_s: list[float]
    words: int
    vocabulary: int
    titles: int
    structured_titles: int
    categories: dict[str, CategoryCounts]

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as plain types."""
        narrated, silent = self.videos["narrated"], self.videos["silent"]
        known = narrated + silent - len(self.unreadable)
        hours = sum(self.hours.values())
        return {
            "corpus": str(self.path),
            "videos": {"narrated": narrated, "silent": silent, "total": narrated + silent},
            "splits": {split: dict(counts) for split, counts in sorted(self.splits.items())},
            "hours": {
                **{kind: round(value, 4) for kind, value in self.hours.items()},
                "total": round(hours, 4),
            },
            "mean_video_s": round(hours * 3600 / known, 3) if known else None,
            "unreadable_videos": [{"video_id": name, "problem": why} for name, why in self.unreadable],
            "clips": self.clips,
            "clips_per_narrated_video": round(self.clips / narrated, 3) if narrated else None,
            "mean_clip_s": round(fmean(self.clip_s), 3) if self.clip_s else None,
            "words": self.words,
            "words_per_clip": round(self.words / self.clips, 3) if self.clips else None,
            "vocabulary": self.vocabulary,
            "titles": self.titles,
            "structured_titles": self.structured_titles,
            "attributes": {
                name: {
                    "mentions": counts.mentions,
                    "terms": len(counts.terms),
                    "clips": counts.clips,
                    "videos": len(counts.videos),
                    "top": dict(
                        sorted(counts.terms.items(), key=lambda item: (-item[1], item[0]))[:TOP_TERMS]
                    ),
                }
                for name, counts in self.categories.items()
            },
        }


def corpus_info(path: Path, *, media: bool = True) -> CorpusInfo:
    """Count what the corpus in the folder `path` holds; `media` says whether to read lengths from the files.

    Raises:
        UsageError: the folder is no corpus.
    """
    corpus = read_corpus(path)
    videos = list(corpus.videos.values())
    hours, unreadable = _hours(videos) if media else ({}, [])
    splits: dict[str, Counter[str]] = {}
    for video in videos:
        splits.setdefault(video.split, Counter())[video.kind] += 1
    words: Counter[str] = Counter()
    categories = {name: CategoryCounts() for name in CATEGORIES}
    with console.progress("count", len(corpus.clips) + len(videos), "texts") as bar:
        for clip in corpus.clips:
            words.update(_count(clip.text, clip.video_id, categories, is_clip=True))
            bar.advance()
        for video in videos:
            _count(video.title_structured or video.title, video.video_id, categories, is_clip=False)
            bar.advance()
    return CorpusInfo(
        path=Path(path),
        videos=Counter(video.kind for video in videos),
        splits=splits,
        hours=hours,
        unreadable=unreadable,
        clips=len(corpus.clips),
        clip_s=[clip.end_s - clip.start_s for clip in corpus.clips],
        words=words.total(),
        vocabulary=len(words),
        titles=sum(bool(video.title) for video in videos),
        structured_titles=sum(bool(video.title_structured) for video in videos),
        categories=categories,
    )


def _count(
    text: str, video_id: str, categories: dict[str, CategoryCounts], *, is_clip: bool
) -> tuple[str, ...]:
    words = normal_words(text)
    named: dict[str, set[str]] = {}
    for _, _, terms in load_tagger().walk(words):
        for term in terms:
            categories[term.category].mentions += 1
            named.setdefault(term.category, set()).add(term.name)
    for category, names in named.items():
        counts = categories[category]
        counts.terms.update(names)
        counts.videos.add(video_id)
        counts.clips += is_clip
    return words


def _hours(videos: Sequence[Video]) -> tuple[dict[str, float], list[tuple[str, str]]]:
    hours = {"narrated": 0.0, "silent": 0.0}
    unreadable: list[tuple[str, str]] = []
    with console.progress("lengths", len(videos), "videos") as bar, ThreadPoolExecutor(THREADS) as pool:
        for video, length in zip(videos, pool.map(_length, videos), strict=True):
            if isinstance(length, str):
                unreadable.append((video.video_id, length))
            else:
                hours[video.kind] += length / 3600
            bar.advance()
    return hours, unreadable


def _length(video: Video) -> float | str:
    try:
        return stated_duration_s(video.path)
    except OphclipError as error:
        return error.message.removeprefix(f"{video.path}: ")
