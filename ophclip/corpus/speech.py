# SPDX-License-Identifier: Apache-2.0
"""What of a transcript is speech at all: noise tags, and what recognisers invent over silence, left out.

Whisper was trained on subtitles. Over music and silence it writes what subtitles end with ("Thank you.",
"Thanks for watching!"), and it loops: the same short sentence again and again. Neither is narration.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ophclip.corpus.transcripts import Cue, Word

LOOP_REPEATS = 4  # a whole cue that comes this often in a video is a loop; the first one stays
LOOP_WORDS = 12  # at most, in a cue that loops
WORD_REPEATS = 4  # the same word or pair of words in a row, from which on it is a loop

_NOISE = (
    r"music|musik|applause|laughter|laughs|silence|noise|sighs?|coughs?|inaudible|unintelligible|blank_audio|"
    r"beep|beeping|foreign|background noise|no audio|no speech|_+"
)
_TAG = (
    rf"\[[^\[\]]{{0,60}}\]|\((?:[\w ,'-]{{0,30}}\s)?(?:{_NOISE})(?:\s[\w ,'-]{{0,30}})?\)"
    r"|\*[^*]{1,40}\*|[\u2669-\u266f]+"
)
_SPEAKER = r"^\s*(?:>>+|[-\u2013\u2014](?=\s))\s*(?:[A-Z][\w. ]{0,24}:\s)?"
_UNSPOKEN = re.compile(rf"{_SPEAKER}|{_TAG}", re.IGNORECASE)

# Whole cues, in lower case without punctuation, that a recogniser writes over silence.
INVENTED = frozenset(
    line.strip()
    for line in """
    you
    thank you
    thank you very much
    thank you so much
    thank you for watching
    thank you for watching this video
    thank you so much for watching
    thank you for your attention
    thanks
    thanks for watching
    thanks for watching this video
    thanks for listening
    bye
    bye bye
    goodbye
    see you
    see you next time
    see you in the next video
    ill see you in the next video
    please subscribe
    please subscribe to my channel
    please like and subscribe
    dont forget to like and subscribe
    subscribe
    subtitles by the amaraorg community
    subtitles by amaraorg
    transcription by castingwords
    transcribed by httpsotterai
    translated by
    so
    oh
    uh
    um
    hmm
    mm
    mmhmm
    the end
    silence
    music
    upbeat music
    to be continued
    """.strip().splitlines()
)


def credible_cues(cues: Sequence[Cue], notes: Counter[str]) -> list[Cue]:
    """Return the cues that are speech; `notes` counts what was left out.

    Noise tags and marks of speakers are cut out of the text. A stock phrase is left out wherever it is a
    whole cue; a short cue that repeats LOOP_REPEATS times stays once.
    """
    cleaned = [_clean(cue) for cue in cues]
    keys = [_key(cue.text) for cue in cleaned]
    counts = Counter(keys)
    seen: set[str] = set()
    kept: list[Cue] = []
    for cue, key in zip(cleaned, keys, strict=True):
        loops = counts[key] >= LOOP_REPEATS and len(key.split()) <= LOOP_WORDS
        if not key:
            notes["cues of noise alone"] += 1
        elif key in INVENTED:
            notes["cues invented over silence"] += 1
        elif (loops and key in seen) or _is_stuck(key):
            notes["cues that repeat in a loop"] += 1
        else:
            kept.append(cue)
        seen.add(key)
    return kept


def _clean(cue: Cue) -> Cue:
    text = strip_noise(cue.text)
    return cue if text == cue.text else replace(cue, text=text, words=_spoken(cue.words))


def _spoken(words: Sequence[Word]) -> tuple[Word, ...]:
    """Return the words without those inside noise tags, which may span several."""
    line = " ".join(word.text for word in words)
    spans = [match.span() for match in _UNSPOKEN.finditer(line)]
    kept: list[Word] = []
    start = 0
    for word in words:
        end = start + len(word.text)
        if not any(first <= start and end <= last for first, last in spans):
            text = strip_noise(word.text)
            kept += [replace(word, text=text)] if text else []
        start = end + 1
    return tuple(kept)


def strip_noise(text: str) -> str:
    """Return a line without noise tags, notes of music and the mark of a new speaker."""
    return text if text.isalnum() else " ".join(_UNSPOKEN.sub(" ", text).split())


def _key(text: str) -> str:
    return " ".join("".join(c for c in text.lower() if c.isalnum() or c.isspace()).split())


def _is_stuck(key: str) -> bool:
    """Return whether a cue is one word or pair of words again and again, nearly throughout."""
    words = key.split()
    if len(words) < 2 * WORD_REPEATS:
        return False
    return any(len(set(words[offset::2])) <= 1 for offset in (0, 1)) and len(set(words)) <= 3
