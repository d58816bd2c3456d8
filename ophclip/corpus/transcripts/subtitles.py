# SPDX-License-Identifier: Apache-2.0
"""WebVTT and SubRip: blocks with a line of times, read by one tolerant parser.

Inline word times (`<00:00:01.000><c> word</c>`) are kept, every other tag is dropped.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from pathlib import Path

from ophclip.corpus.transcripts.cues import Cue, Transcript, in_order
from ophclip.corpus.transcripts.decoding import broken, read_text
from ophclip.corpus.transcripts.rolling import Block, Line, is_rolling, unroll

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*(-?){_TIME}\s*-->\s*(-?){_TIME}(?:\s.*)?")
_LANGUAGE = re.compile(r"^Language:\s*(\S+)", re.MULTILINE)
_WORD_TIME = re.compile(rf"<{_TIME}>")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|\{\\[^{}]*\}")


def read_subtitles(path: Path) -> Transcript:
    """Read a VTT or SRT file, told apart by their content and not by their name.

    Raises:
        OphclipError: the file is unreadable, or holds no cue although it is not an empty WebVTT file.
    """
    notes: Counter[str] = Counter()
    text = read_text(path, notes)
    blocks, bad_lines = _blocks(text)
    if not blocks and (bad_lines or not text.startswith("WEBVTT")):
        raise broken(path, "must have cues such as '00:00:01.000 --> 00:00:04.000', got none")
    has_word_times = any(line.word_times for block in blocks for line in block.lines)
    if has_word_times or is_rolling(blocks):
        cues = unroll(blocks)
    else:
        cues = [
            Cue(block.start_s, block.end_s, " ".join(line.text for line in block.lines)) for block in blocks
        ]
    language = _LANGUAGE.search(text[:400])
    problem = f"{bad_lines} lines of times cannot be read" if bad_lines else None
    tongue = language[1] if language else None
    return Transcript(in_order(cues, notes), tongue, has_word_times, notes, problem)


def _blocks(text: str) -> tuple[list[Block], int]:
    blocks: list[Block] = []
    bad_lines = 0
    current: Block | None = None
    for line in text.split("\n"):
        if "-->" in line:
            match = _TIMES.fullmatch(line)
            current = None
            if match is None:
                bad_lines += 1
                continue
            _drop_number(blocks)
            current = Block(_seconds(*match.groups()[:5]), _seconds(*match.groups()[5:]))
            blocks.append(current)
        elif not line:
            current = _after_blank(current)
        elif current is not None and (parsed := _parse_line(line)).text:
            current.lines.append(parsed)
    return blocks, bad_lines


def _after_blank(block: Block | None) -> Block | None:
    # A blank line ends a cue; but automatic captions begin a cue with a line of one space.
    return block if block is not None and not block.lines else None


def _drop_number(blocks: list[Block]) -> None:
    """Take off the number of the next SubRip cue where no blank line stood before it."""
    if blocks and blocks[-1].lines and blocks[-1].lines[-1].text == str(len(blocks) + 1):
        blocks[-1].lines.pop()


def _parse_line(line: str) -> Line:
    """Split a line at its inline times: text without tags, and at which word each time stands."""
    word_times: list[tuple[int, float]] = []
    words: list[str] = []
    position = 0
    for match in _WORD_TIME.finditer(line):
        words += _plain(line[position : match.start()]).split()
        word_times.append((len(words), _seconds("", *match.groups())))
        position = match.end()
    words += _plain(line[position:]).split()
    return Line(" ".join(words), tuple(word_times))


def _plain(text: str) -> str:
    return html.unescape(_TAG.sub("", text)) if "<" in text or "&" in text or "{" in text else text


def _seconds(sign: str | None, hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    value = float(int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds))
    value += int(fraction) / 10.0 ** len(fraction)
    return -value if sign else value
