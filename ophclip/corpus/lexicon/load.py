# SPDX-License-Identifier: Apache-2.0
"""The lexicon of eye surgery: terms by category, read from the TOML files that stand beside this module.

A file is a category, a table in it a field of ophthalmology, a key the id of a term, and its value the names
of that term, the preferred one first:

    category = "surgery"

    [cataract]
    phacoemulsification_surgery = ["phacoemulsification cataract surgery", "phaco", "cataract surgery"]
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

from ophclip.corpus.lexicon.normal import normal_words

# The attributes that the description of the method names, and anatomy, which narrations name most.
CATEGORIES = (
    "surgery",
    "phase",
    "operation",
    "instrument",
    "medication",
    "cause",
    "objective",
    "advice",
    "anatomy",
)


@dataclass(frozen=True)
class Term:
    """One concept: `names[0]` is the preferred name, the others are synonyms and abbreviations."""

    term_id: str
    category: str
    field: str
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The preferred name."""
        return self.names[0]


@dataclass(frozen=True)
class Lexicon:
    """Terms by (category, id), and what recognisers write in their place."""

    terms: Mapping[tuple[str, str], Term]
    confusions: tuple[Confusion, ...] = ()
    english: frozenset[str] = frozenset()

    @cached_property
    def names(self) -> dict[tuple[str, ...], tuple[Term, ...]]:
        """Terms by the normal words of their names; a name may stand in several categories."""
        found: dict[tuple[str, ...], list[Term]] = {}
        for term in self.terms.values():
            for words in dict.fromkeys(normal_words(name) for name in term.names):
                found.setdefault(words, []).append(term)
        return {words: tuple(terms) for words, terms in found.items()}

    @cached_property
    def digest(self) -> str:
        """A hash of all that is in it."""
        parts = [repr(term) for term in self.terms.values()]
        parts += [repr(confusion) for confusion in self.confusions]
        parts += sorted(self.english)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Confusion:
    """What a recogniser writes for `meant`; if `near` is not empty, only with one of its words close by."""

    heard: tuple[str, ...]
    meant: str
    near: frozenset[str] = frozenset()


@cache
def load_lexicon() -> Lexicon:
    """Read the lexicon that comes with the package."""
    folder = files("ophclip.corpus.lexicon")
    terms: dict[tuple[str, str], Term] = {}
    for category in CATEGORIES:
        data = tomllib.loads(folder.joinpath(f"{category}.toml").read_text(encoding="utf-8"))
        for field, entries in data.items():
            if isinstance(entries, dict):
                for term_id, names in entries.items():
                    terms[category, term_id] = Term(term_id, category, field, tuple(names))
    english = folder.joinpath("english.txt").read_text(encoding="utf-8").split("\n")
    words = frozenset(word for line in english if not line.startswith("#") for word in line.split())
    return Lexicon(
        terms, _read_confusions(folder.joinpath("confusions.toml").read_text(encoding="utf-8")), words
    )


def _read_confusions(text: str) -> tuple[Confusion, ...]:
    data = tomllib.loads(text)
    always = [
        Confusion(normal_words(heard), meant)
        for meant, phrases in data["always"].items()
        for heard in phrases
    ]
    near = [
        Confusion(normal_words(heard), meant, frozenset(normal_words(" ".join(entry["near"]))))
        for meant, entry in data["near"].items()
        for heard in entry["heard"]
    ]
    return (*always, *near)
