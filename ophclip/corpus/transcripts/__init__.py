# SPDX-License-Identifier: Apache-2.0
"""What was said in a video and when, read from the files that recognisers and download tools leave."""

from __future__ import annotations

from ophclip.corpus.transcripts.cues import Cue, Transcript, Word, timed_words
from ophclip.corpus.transcripts.read import KINDS, TranscriptKind, read_transcript

__all__ = ["KINDS", "Cue", "Transcript", "TranscriptKind", "Word", "read_transcript", "timed_words"]
