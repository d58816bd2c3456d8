# SPDX-License-Identifier: Apache-2.0
"""Tell what kind of transcript a file is, and read it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Literal

from ophclip.corpus.manifest import LINEAGE_COLUMNS
from ophclip.corpus.tables import parse_number
from ophclip.corpus.transcripts.cues import Cue, Transcript, in_order
from ophclip.corpus.transcripts.decoding import read_text
from ophclip.corpus.transcripts.subtitles import read_subtitles
from ophclip.corpus.transcripts.whisper import has_alignment, load_json, segments_of, transcript_of

TranscriptKind = Literal["csv", "whisperx", "whisper", "manual", "auto"]

# In the order in which one is chosen where a video has several: what was curated for a corpus, then what a
# good recogniser made with word times, then what people typed, then what the site made itself.
KINDS: tuple[TranscriptKind, ...] = ("csv", "whisperx", "whisper", "manual", "auto")


def read_transcript(path: Path) -> tuple[TranscriptKind, Transcript] | None:
    """Read a transcript of any kind; None where the file is something else (a table, other JSON).

    Raises:
        OphclipError: it is a transcript, or has the suffix of one, and cannot be used.
    """
    suffix = path.suffix.lower()
    if suffix in (".vtt", ".srt"):
        transcript = read_subtitles(path)
        return ("auto" if transcript.is_automatic else "manual"), transcript
    if suffix == ".csv":
        table = _read_table(path)
        return None if table is None else ("csv", table)
    notes: Counter[str] = Counter()
    data = load_json(path, notes)
    if segments_of(data) is None:
        return None
    return ("whisperx" if has_alignment(data) else "whisper"), transcript_of(path, data, notes)


def _read_table(path: Path) -> Transcript | None:
    """Read the lineage's `start,end,text`; bad rows are left out and told."""
    notes: Counter[str] = Counter()
    rows = csv.reader(io.StringIO(read_text(path, notes), newline=""))
    header = [name.strip() for name in next(rows, [])]
    if not set(LINEAGE_COLUMNS) <= set(header):
        return None
    places = [header.index(column) for column in LINEAGE_COLUMNS]
    cues: list[Cue] = []
    bad_lines: list[int] = []
    try:
        for row in rows:
            cue = _cue(row, places)
            if cue is not None:
                cues.append(cue)
            elif row:
                bad_lines.append(rows.line_num)
    except csv.Error:
        bad_lines.append(rows.line_num)
    problem = f"{len(bad_lines)} bad rows, the first on line {bad_lines[0]}" if bad_lines else None
    return Transcript(in_order(cues, notes), None, False, notes, problem)


def _cue(row: list[str], places: list[int]) -> Cue | None:
    if len(row) <= max(places):
        return None
    start, end, text = (row[place] for place in places)
    start_s, end_s = parse_number(start), parse_number(end)
    if start_s is None or end_s is None or end_s <= start_s or not text.strip():
        return None
    return Cue(start_s, end_s, " ".join(text.split()))
