# SPDX-License-Identifier: Apache-2.0
"""The words of eye surgery: terms with synonyms, found in text mended where a recogniser misheard them."""

from __future__ import annotations

from ophclip.corpus.lexicon.correct import Corrector, Repair, load_corrector
from ophclip.corpus.lexicon.load import CATEGORIES, Lexicon, Term, load_lexicon
from ophclip.corpus.lexicon.tag import Mention, Tagger, load_tagger
from ophclip.corpus.lexicon.titles import structured_title

__all__ = [
    "CATEGORIES",
    "Corrector",
    "Lexicon",
    "Mention",
    "Repair",
    "Tagger",
    "Term",
    "load_corrector",
    "load_lexicon",
    "load_tagger",
    "structured_title",
]
