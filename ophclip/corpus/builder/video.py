# SPDX-License-Identifier: Apache-2.0
"""All that a build finds out about one video: who it is, what is said, the clips, what was mended."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ophclip.corpus.builder.downloads import Download
from ophclip.corpus.builder.settings import BuildSettings
from ophclip.corpus.lexicon import load_tagger
from ophclip.corpus.manifest import Video, video_problem
from ophclip.corpus.mending import mend, normal_of
from ophclip.corpus.sentences import cut
from ophclip.corpus.speech import credible_cues
from ophclip.corpus.transcripts import Transcript, TranscriptKind, Word, read_transcript, timed_words
from ophclip.errors import OphclipError
from ophclip.video.header import stated_duration_s

MAX_VIDEO_ID_BYTES = 160  # the ids of its clips are longer
PAST_END_SHARE = 0.5  # of cues beyond the video's end, from which on the transcript is another video's


@dataclass
class VideoResult:
    """What is known of one video, in plain types; one that is `fatal` cannot be in a corpus.

    `clips` are (window, start_s, end_s, text), `repairs` (start_s, heard, meant), `mentions` counts of
    (category, id, count) in what is said.
    """

    video_id: str
    path: str
    duration_s: float = 0.0
    title: str = ""
    tags: list[str] = field(default_factory=list)
    transcript: str | None = None
    transcript_kind: str | None = None
    words: int = 0
    clips: list[tuple[str, float, float, str]] = field(default_factory=list)
    repairs: list[tuple[float, str, str]] = field(default_factory=list)
    mentions: list[tuple[str, str, int]] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)  # (file, what is wrong with it)
    fatal: bool = False

    @property
    def words_per_s(self) -> float:
        """Credible words in each second of the whole video."""
        return self.words / self.duration_s if self.duration_s > 0 else 0.0

    def to_json(self) -> str:
        """Return the result as one line."""
        return json.dumps(asdict(self), ensure_ascii=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> VideoResult:
        """Read a line that `to_json` wrote."""
        data = json.loads(line)
        for name in ("clips", "repairs", "mentions", "problems"):
            data[name] = [tuple(entry) for entry in data[name]]
        return cls(**data)


def examine(download: Download, settings: BuildSettings) -> VideoResult:
    """Read a video's header, information and best transcript, and cut what is said into clips.

    Never raises for what is wrong with the files: it is told in `problems`.
    """
    result = VideoResult(download.name_id, str(download.media))
    _read_info(download, result)
    record = Video(result.video_id, download.media, "silent", "", "", "train")
    problem = _name_problem(str(download.media)) or _name_problem(result.video_id) or video_problem(record)
    if len(result.video_id.encode("utf-8", "replace")) > MAX_VIDEO_ID_BYTES:
        problem = f"its id must be at most {MAX_VIDEO_ID_BYTES} bytes long, got {result.video_id[:40]!r}..."
    if problem:
        return _failed(result, download.media, problem)
    try:
        result.duration_s = stated_duration_s(download.media)
    except OphclipError as error:
        return _failed(result, download.media, _bare(error, download.media))
    chosen = _choose(download, settings, result)
    if chosen is not None:
        _listen(chosen, settings, result)
    elif any(path != str(download.info) for path, _ in result.problems):
        result.fatal = True  # it may well be narrated: calling it silent would be a guess
    return result


def clean_text(text: str) -> str:
    """Return a text that any table can hold: no control characters or halves of characters, single spaces."""
    text = text.encode("utf-8", "ignore").decode("utf-8") if not text.isascii() else text
    return (
        " ".join(text.split())
        if text.isprintable()
        else " ".join("".join(c if c.isprintable() or c.isspace() else "" for c in text).split())
    )


def _failed(result: VideoResult, path: Path, problem: str) -> VideoResult:
    result.problems.append((str(path), problem))
    result.fatal = True
    return result


def _bare(error: OphclipError, path: Path) -> str:
    return error.message.removeprefix(f"{path}: ")


def _name_problem(name: str) -> str | None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name must be UTF-8"
    return None


def _read_info(download: Download, result: VideoResult) -> None:
    result.title = clean_text(download.media.stem.removesuffix(f"[{download.name_id}]"))
    if download.info is None:
        return
    try:
        info: Any = json.loads(download.info.read_bytes())
        if not isinstance(info, dict):
            raise ValueError("must be an object")
    except (OSError, ValueError, RecursionError) as error:
        result.problems.append(
            (str(download.info), f"must be the JSON that yt-dlp writes, got an error: {error}")
        )
        return
    if isinstance(info.get("id"), str) and info["id"].strip():
        result.video_id = info["id"].strip()
    if isinstance(info.get("title"), str):
        result.title = clean_text(info["title"])
    tags = info.get("tags")
    result.tags = [clean_text(tag) for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _choose(
    download: Download, settings: BuildSettings, result: VideoResult
) -> tuple[Path, TranscriptKind, Transcript] | None:
    """Return the best transcript that can be read; what cannot goes into the problems."""
    found: list[tuple[int, str, Path, TranscriptKind, Transcript]] = []
    for path, language in download.transcripts:
        try:
            read = read_transcript(path)
        except OphclipError as error:
            result.problems.append((str(path), _bare(error, path)))
            continue
        if read is None:
            continue
        kind, transcript = read
        if not _speaks(language or transcript.language, settings.language):
            _note(result, "transcripts in other languages", 1)
        elif transcript.cues and _share_past(transcript, result.duration_s) > PAST_END_SHARE:
            problem = f"most of it lies past the video's end at {result.duration_s:.0f} s: another video's?"
            result.problems.append((str(path), problem))
        else:
            found.append((settings.prefer.index(kind), path.name, path, kind, transcript))
    if not found:
        return None
    _note(result, "transcripts not needed", len(found) - 1)
    _, _, path, kind, transcript = min(found, key=lambda entry: entry[:2])
    return path, kind, transcript


def _speaks(language: str | None, wanted: str) -> bool:
    return language is None or language.lower().split("-")[0] in (wanted.lower(), "und")


def _share_past(transcript: Transcript, duration_s: float) -> float:
    return sum(cue.start_s >= duration_s for cue in transcript.cues) / len(transcript.cues)


def _listen(
    chosen: tuple[Path, TranscriptKind, Transcript], settings: BuildSettings, result: VideoResult
) -> None:
    path, kind, transcript = chosen
    result.transcript, result.transcript_kind = str(path), kind
    if transcript.problem:
        result.problems.append((str(path), transcript.problem))
    notes = transcript.notes
    words = timed_words(credible_cues(transcript.cues, notes))
    spoken = [word for word in words if word.start_s < result.duration_s]
    if len(spoken) < len(words):
        notes["words past the end of the video"] += len(words) - len(spoken)
    spoken = [Word(word.start_s, word.end_s, text) for word in spoken if (text := clean_text(word.text))]
    if settings.correct:
        spoken, result.repairs = mend(spoken)
    result.words = sum(1 for word in spoken if normal_of(word.text))
    result.mentions = _mentions(spoken)
    _add_clips(spoken, settings, result, notes)
    for note, count in sorted(notes.items()):
        _note(result, note, count)


def _mentions(words: Sequence[Word]) -> list[tuple[str, str, int]]:
    normal = [form for word in words for form in normal_of(word.text)]
    counts = Counter(
        (term.category, term.term_id) for _, _, terms in load_tagger().walk(normal) for term in terms
    )
    return [(*key, count) for key, count in sorted(counts.items())]


def _add_clips(
    words: Sequence[Word], settings: BuildSettings, result: VideoResult, notes: Counter[str]
) -> None:
    end_s = math.floor(result.duration_s * 1000) / 1000
    for window in settings.windows:
        for passage in cut(words, window, end_s):
            if passage.text.count(" ") + 1 < settings.min_words and not load_tagger().find(passage.text):
                notes[f"clips of {window.label} s with fewer than {settings.min_words} words"] += 1
            else:
                result.clips.append((window.label, passage.start_s, passage.end_s, passage.text))


def _note(result: VideoResult, note: str, count: int) -> None:
    if count:
        result.notes[note] = result.notes.get(note, 0) + count
