# SPDX-License-Identifier: Apache-2.0
"""Mend what a recogniser misheard: words that sound or look like a term of the lexicon, and are no word.

Three rules, from the surest on, over stretches of one to four words that no mark of a sentence parts:

1. a known confusion ("fake oh" for phaco); one that is also sense in English only near words of its field,
2. a term that was written in pieces ("hydro dissection"), or by sound ("caps a low rexis"),
3. a word that is no English and no term, but nearly a term ("vitrious", "capsulorexis").

An English word is never changed by itself, but by rule 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from ophclip.corpus.lexicon.load import Confusion, Lexicon, load_lexicon
from ophclip.corpus.lexicon.normal import singular
from ophclip.corpus.lexicon.sound import distance, sound_of
from ophclip.corpus.lexicon.tag import Tagger, load_tagger

LONGEST_STRETCH = 4
NEAR_WORDS = 8  # on either side, in which a confusion looks for its field
MIN_TERM = 6  # letters of a term that words are corrected to
MIN_JOINED = 7  # letters of a term that was written in pieces
MIN_SOUND = 6  # consonants that must agree where only the sound tells
LONG_SOUND = 8  # where all the pieces are English
MIN_LIKENESS = 0.55  # of the spelling, where the sound agrees

# A stretch neither begins nor ends with these: "the nucleus" is no endonucleus.
_SMALL = frozenset(
    ["the", "a", "an", "in", "and", "of", "to", "it", "we", "i", "is", "at", "on", "or", "he", "so", "as"]
    + ["by", "for", "this", "that", "with", "you", "my", "our"]
)
_ENDINGS = ("s", "es", "ed", "d", "ing", "ly", "er", "r", "ers", "al", "able", "ness", "ment", "ion", "or")


@dataclass(frozen=True, slots=True)
class Repair:
    """Words[first:after] of a text are `meant`."""

    first: int
    after: int
    meant: str


class Corrector:
    """Finds what to mend in the normal words of a text; `targets` are the words that others are mended to."""

    def __init__(self, lexicon: Lexicon, tagger: Tagger) -> None:
        self._tagger = tagger
        self._english = lexicon.english
        self._known = {word for words in lexicon.names for word in words}
        # Everyday words that are parts of names, such as "wound", are never meant: too much resembles them.
        targets = {word for word in self._known if len(word) >= MIN_TERM and word.isalpha()}
        self.targets = frozenset(word for word in targets if not self.is_english(word))
        self._joined = {word for word in self.targets if len(word) >= MIN_JOINED}
        self._by_sound: dict[str, list[str]] = {}
        self._by_ends: dict[tuple[str, int], list[str]] = {}
        for word in sorted(self.targets):
            self._by_sound.setdefault(sound_of([word]), []).append(word)
            self._by_ends.setdefault((word[0], len(word)), []).append(word)
        self._confusions: dict[tuple[str, ...], list[Confusion]] = {}
        for confusion in lexicon.confusions:
            self._confusions.setdefault(confusion.heard, []).append(confusion)
        self._heard_first = {heard[0] for heard in self._confusions}
        self._longest = max([LONGEST_STRETCH, *map(len, self._confusions)])
        self._nearest = lru_cache(maxsize=100_000)(self._nearest_term)

    def is_english(self, word: str) -> bool:
        """Return whether a normal word is on the list of English words, in some form."""
        if word in self._english:
            return True
        for ending in _ENDINGS:
            if word.endswith(ending):
                stem = word[: -len(ending)]
                if stem in self._english or stem + "e" in self._english:
                    return True
                if len(stem) > 3 and stem[-1] == stem[-2] and stem[:-1] in self._english:
                    return True
        return False

    def find(self, words: Sequence[str], breaks: frozenset[int] = frozenset()) -> list[Repair]:
        """Return the repairs of a list of normal words in order; none reaches over a break.

        `breaks` are the indices of words before which a sentence or clause begins.
        """
        protected = self._protected(words)
        repairs: list[Repair] = []
        index = 0
        while index < len(words):
            repair = self._at(words, index, self._reach(words, index, breaks, protected), protected)
            if repair is None:
                index += 1
            else:
                repairs.append(repair)
                index = repair.after
        return repairs

    def _protected(self, words: Sequence[str]) -> set[int]:
        """Return the words that are part of a name of several words, and so heard right."""
        found = self._tagger.walk(words)
        return {index for first, after, _ in found if after - first > 1 for index in range(first, after)}

    def _reach(self, words: Sequence[str], index: int, breaks: frozenset[int], protected: set[int]) -> int:
        last = min(index + self._longest, len(words))
        return next((stop for stop in range(index + 1, last) if stop in breaks or stop in protected), last)

    def _at(self, words: Sequence[str], index: int, reach: int, protected: set[int]) -> Repair | None:
        if index in protected:
            return None
        known = self._known_confusion(words, index, reach)
        for after in range(min(reach, index + LONGEST_STRETCH), index + 1, -1):
            if known is not None and known.after >= after:
                return known
            meant = self._in_pieces(words[index:after])
            if meant:
                return Repair(index, after, meant)
        meant = None if known else self._nearest(words[index])
        return Repair(index, index + 1, meant) if meant else known

    def _known_confusion(self, words: Sequence[str], index: int, reach: int) -> Repair | None:
        if words[index] not in self._heard_first:
            return None
        for after in range(reach, index, -1):
            for confusion in self._confusions.get(tuple(words[index:after]), ()):
                if not confusion.near or self._is_near(words, index, after, confusion.near):
                    return Repair(index, after, confusion.meant)
        return None

    def _is_near(self, words: Sequence[str], first: int, after: int, near: frozenset[str]) -> bool:
        around = (*words[max(0, first - NEAR_WORDS) : first], *words[after : after + NEAR_WORDS])
        return not near.isdisjoint(around)

    def _in_pieces(self, pieces: Sequence[str]) -> str | None:
        if pieces[0] in _SMALL or pieces[-1] in _SMALL:
            return None
        joined = singular("".join(pieces))
        if joined in self._joined:
            return joined
        sound = sound_of(pieces)
        if len(sound) < MIN_SOUND or (terms := self._by_sound.get(sound)) is None:
            return None
        if any(sound_of([piece]) == sound for piece in pieces):  # the others add nothing to what was heard
            return None
        if len(sound) < LONG_SOUND and all(len(piece) < 4 or self.is_english(piece) for piece in pieces):
            return None
        return _likest(joined, terms)

    def _is_known(self, word: str) -> bool:
        """Return whether a word is part of a name, in some form: "intravitreally"."""
        return word in self._known or any(
            word.endswith(ending) and word[: -len(ending)] in self._known for ending in _ENDINGS
        )

    def _nearest_term(self, word: str) -> str | None:
        """Return the one term that a word which is neither term nor English nearly is."""
        if len(word) < MIN_TERM or not word.isalpha() or self._is_known(word) or self.is_english(word):
            return None
        alike = _likest(word, self._by_sound.get(sound_of([word]), []), least=0.7)
        if alike:
            return alike
        limit = 1 if len(word) < 10 else 2
        close: dict[int, list[str]] = {}
        for length in range(len(word) - limit, len(word) + limit + 1):
            for term in self._by_ends.get((word[0], length), ()):
                away = distance(word, term, limit)
                if away <= limit and len(term) >= MIN_JOINED:
                    close.setdefault(away, []).append(term)
        best = close[min(close)] if close else []
        return best[0] if len(best) == 1 else None


def _likest(word: str, terms: Sequence[str], least: float = MIN_LIKENESS) -> str | None:
    best, found = least - 1e-9, None
    for term in terms:
        longest = max(len(word), len(term))
        likeness = 1 - distance(word, term, longest) / longest
        if likeness > best:
            best, found = likeness, term
    return found


@cache
def load_corrector() -> Corrector:
    """Return the corrector of the lexicon that comes with the package."""
    return Corrector(load_lexicon(), load_tagger())
