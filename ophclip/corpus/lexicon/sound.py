# SPDX-License-Identifier: Apache-2.0
"""How a word sounds, roughly: its consonants by the way they are spoken, voiced and unvoiced alike.

A phonetic key in the manner of Metaphone, tuned to the Greek and Latin of medicine: "ph" is f, "rh" r, "pt"
at the start t, "x" ks. Vowels count only at the start. Keys of several words join to the key of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_STARTS = (
    ("pt", "t"),
    ("ps", "s"),
    ("pn", "n"),
    ("kn", "n"),
    ("gn", "n"),
    ("wr", "r"),
    ("x", "s"),
    ("wh", "w"),
)
_RULES = re.compile(
    r"(?P<X>sch(?=[aeiou]w)|tch|sh|ch(?![rl])|[sct]i(?=[ao])|ssi(?=on)|j|g(?=[eiy]))"
    r"|(?P<F>ph|v|f)|(?P<K>ck|ch|q|g(?!h)|k|c(?![eiy]))|(?P<S>s|z|c)|(?P<KS>x)|(?P<SILENT>gh|[hwyaeiou])"
    r"|(?P<P>b|p)|(?P<T>th|d|t)|(?P<R>r)|(?P<L>l)|(?P<M>m)|(?P<N>n)|(?P<OTHER>.)"
)


def sound_of(words: Sequence[str]) -> str:
    """Return the key of words spoken without a pause between them."""
    key = _key(words[0], True)
    before = words[0]
    for word in words[1:]:
        part = _key(word, False)
        if part and key and part[0] == key[-1] and before[-1] not in "aeiouhwy" and word[0] not in "aeiouhwy":
            part = part[1:]
        key += part
        before = word
    return key


@lru_cache(maxsize=200_000)
def _key(word: str, at_start: bool) -> str:
    for spelling, spoken in _STARTS:
        if word.startswith(spelling):
            word = spoken + word[len(spelling) :]
            break
    codes: list[str] = []
    last = ""
    for match in _RULES.finditer(word):
        code = match.lastgroup or ""
        if code == "SILENT":
            if at_start and match.start() == 0:
                codes.append("H" if match[0] == "h" else "W" if match[0] == "w" else "A")
        elif code != last:  # a doubled letter is one sound
            codes.append(match[0] if code == "OTHER" else code)
        last = code
    return "".join(codes)


def distance(a: str, b: str, limit: int) -> int:
    """Return the edit distance of two words, or `limit` + 1 if it is greater; neighbours may be swapped."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        earlier, before, row = before, row, [i]
        for j, y in enumerate(b, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)
