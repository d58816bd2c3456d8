# SPDX-License-Identifier: Apache-2.0
"""Find the terms of the lexicon in a text: one walk over its words through a trie, longest name first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ophclip.corpus.lexicon.load import Lexicon, Term, load_lexicon
from ophclip.corpus.lexicon.normal import find_words

_TERMS = ""  # the key under which a node of the trie holds the terms that end there; no word is empty


@dataclass(frozen=True, slots=True)
class Mention:
    """A term at text[start:end]."""

    term: Term
    start: int
    end: int


class Tagger:
    """Finds names; at each word the longest name wins, and what it covers is not looked at again."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._terms = lexicon.terms
        self._trie: dict[str, Any] = {}
        for words, terms in lexicon.names.items():
            node = self._trie
            for word in words:
                node = node.setdefault(word, {})
            node[_TERMS] = terms

    def term(self, category: str, term_id: str) -> Term:
        """Return a term by its category and id.

        Raises:
            KeyError: there is none.
        """
        return self._terms[category, term_id]

    def find(self, text: str) -> list[Mention]:
        """Return the mentions of a text in order; a name of several categories is one mention of each."""
        words = find_words(text)
        return [
            Mention(term, words[first][1], words[after - 1][2])
            for first, after, terms in self.walk([word for word, _, _ in words])
            for term in terms
        ]

    def walk(self, words: Sequence[str]) -> list[tuple[int, int, tuple[Term, ...]]]:
        """Return (first, after the last, terms) for each name in a list of normal words."""
        found: list[tuple[int, int, tuple[Term, ...]]] = []
        trie = self._trie
        index, count = 0, len(words)
        while index < count:
            node = trie.get(words[index])
            if node is None:
                index += 1
                continue
            position, best, terms = index + 1, 0, node.get(_TERMS)
            if terms is not None:
                best = position
            while position < count and (node := node.get(words[position])) is not None:
                position += 1
                if _TERMS in node:
                    best, terms = position, node[_TERMS]
            if terms is None:
                index += 1
            else:
                found.append((index, best, terms))
                index = best
        return found


@cache
def load_tagger() -> Tagger:
    """Return the tagger of the lexicon that comes with the package."""
    return Tagger(load_lexicon())
