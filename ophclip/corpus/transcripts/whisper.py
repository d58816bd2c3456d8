# SPDX-License-Identifier: Apache-2.0
"""The JSON of Whisper and its kin: openai-whisper, faster-whisper, WhisperX and whisper.cpp.

Segments that the recogniser itself doubts are left out, by Whisper's own rules of thumb for silence and
loops.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ophclip.corpus.transcripts.cues import Cue, Transcript, Word, in_order
from ophclip.corpus.transcripts.decoding import broken, read_text

# A segment is taken for silence where both hold, and for a loop where the last does: the defaults with
# which Whisper itself decodes again.
MAX_NO_SPEECH_PROB = 0.6
MIN_AVG_LOGPROB = -1.0
MAX_COMPRESSION_RATIO = 2.4


def transcript_of(path: Path, data: Any, notes: Counter[str]) -> Transcript:
    """Return the transcript in a recogniser's JSON; `path` is named in errors.

    Raises:
        OphclipError: it has no usable segments.
    """
    segments = segments_of(data)
    if segments is None:
        raise broken(path, "must be a transcript with segments, got other JSON")
    language = data.get("language") if isinstance(data, dict) else None
    cues: list[Cue] = []
    for segment in segments:
        cue = _cue(segment) if isinstance(segment, dict) else None
        if cue is None:
            notes["segments without text or times"] += 1
        elif _is_doubted(segment):
            notes["segments that the recogniser doubts"] += 1
        else:
            cues.append(cue)
    if segments and not cues and notes["segments without text or times"] == len(segments):
        raise broken(path, "segments must have start, end and text, got none that has")
    return Transcript(in_order(cues, notes), language if isinstance(language, str) else None, True, notes)


def load_json(path: Path, notes: Counter[str]) -> Any:
    """Read a JSON file.

    Raises:
        OphclipError: it is unreadable or cut short.
    """
    try:
        return json.loads(read_text(path, notes))
    except (ValueError, RecursionError) as error:
        raise broken(path, f"must be JSON, got an error: {error}") from error


def segments_of(data: Any) -> Sequence[Any] | None:
    """Return the segments of a recogniser's JSON, or None where `data` is something else."""
    if isinstance(data, dict):
        data = data.get("segments", data.get("transcription"))
    if not isinstance(data, list):
        return None
    if not data or (isinstance(data[0], dict) and "text" in data[0]):
        return data
    return None


def has_alignment(data: Any) -> bool:
    """Return whether the JSON is one of WhisperX: words aligned to the sound, each with a score."""
    return isinstance(data, dict) and "word_segments" in data


def _cue(segment: dict[str, Any]) -> Cue | None:
    start_s, end_s, text = _times(segment), _times(segment, "end"), segment.get("text")
    if start_s is None or end_s is None or not isinstance(text, str):
        return None
    words = segment.get("words")
    timed = _words(words, start_s, end_s) if isinstance(words, list) else ()
    return Cue(start_s, end_s, " ".join(text.split()), timed)


def _times(segment: dict[str, Any], name: str = "start") -> float | None:
    value = segment.get(name)
    if value is None and isinstance(segment.get("offsets"), dict):  # whisper.cpp: milliseconds
        offset = segment["offsets"].get({"start": "from", "end": "to"}[name])
        value = offset / 1000 if _is_number(offset) else None
    return float(value) if value is not None and _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(entries: list[Any], start_s: float, end_s: float) -> tuple[Word, ...]:
    """Return the words; one that was not aligned lies between its neighbours."""
    texts = [str(entry.get("word", entry.get("text", ""))) for entry in entries if isinstance(entry, dict)]
    times = [(_times(entry), _times(entry, "end")) for entry in entries if isinstance(entry, dict)]
    spaced = any(text.startswith(" ") for text in texts)
    words: list[Word] = []
    last_s = start_s
    for index, (text, (begin, finish)) in enumerate(zip(texts, times, strict=True)):
        if begin is None:
            begin, finish = last_s, _next_start(times, index, end_s)
        finish = begin if finish is None else finish
        if words and spaced and not text.startswith(" "):  # a piece of the word before, as "-VEGF"
            words[-1] = Word(words[-1].start_s, finish, words[-1].text + text.strip())
        elif text.strip():
            words.append(Word(begin, max(begin, finish), text.strip()))
        last_s = max(last_s, finish)
    return tuple(words)


def _next_start(times: list[tuple[float | None, float | None]], index: int, end_s: float) -> float:
    return next((start for start, _ in times[index + 1 :] if start is not None), end_s)


def _is_doubted(segment: dict[str, Any]) -> bool:
    silent = _figure(segment, "no_speech_prob", 0) > MAX_NO_SPEECH_PROB
    unsure = _figure(segment, "avg_logprob", 0) < MIN_AVG_LOGPROB
    return (silent and unsure) or _figure(segment, "compression_ratio", 0) > MAX_COMPRESSION_RATIO


def _figure(segment: dict[str, Any], name: str, default: float) -> float:
    value = segment.get(name)
    return float(value) if _is_number(value) and math.isfinite(float(value)) else default  # type: ignore[arg-type]
