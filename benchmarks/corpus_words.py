# SPDX-License-Identifier: Apache-2.0
"""How well the lexicon finds and mends terms: measured on drawn narrations, whose truth is known.

    python benchmarks/corpus_words.py [--sentences 4000] [--seed 0]

The simulator writes sentences from templates that name a phase or an instrument, so what is named is known.
They are tagged as they are, after the simulator's slips of recognition, and after the slips were mended. The
slips of `damage` are seeded here and known to neither the lexicon nor its list of confusions.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ophclip.corpus.lexicon import Corrector, load_corrector, load_lexicon, load_tagger
from ophclip.corpus.lexicon.normal import normal_words
from ophclip.corpus.simulate.grammar import expand, pick
from ophclip.corpus.simulate.slips import mishear, slur
from ophclip.corpus.simulate.speech import load_speech
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES

KEYS = {("phase", term.key) for term in PHASES} | {("instrument", term.key) for term in INSTRUMENTS}
NAMED = re.compile("\N{LEFT DOUBLE ANGLE BRACKET}(.*?)\N{RIGHT DOUBLE ANGLE BRACKET}")


@dataclass
class Score:
    """Counts of mentions: right, missed, and found where nothing was."""

    hits: int = 0
    missed: int = 0
    wrong: int = 0

    def told(self) -> dict[str, float]:
        """Return precision, recall and the counts."""
        precision = self.hits / max(self.hits + self.wrong, 1)
        recall = self.hits / max(self.hits + self.missed, 1)
        return {
            "precision": round(precision, 4),
            "recall": round(recall, 4),
            "mentions": self.hits + self.missed,
        }


@dataclass(frozen=True)
class Sentence:
    """A drawn sentence; `named` must be found, `allowed` may be: what the sentence is about."""

    text: str
    named: frozenset[tuple[str, str]]
    allowed: frozenset[tuple[str, str]]


def draw_sentences(count: int, seed: int) -> list[Sentence]:
    """Draw sentences on phases and instruments with what each names."""
    rng = np.random.default_rng(seed)
    speech = load_speech()
    rules = dict(speech.openings)
    for category, names in (("phase", speech.phase_names), ("instrument", speech.instrument_names)):
        for key, lines in names.items():
            mark = f"{category}:{key}"
            rules[key] = tuple(
                f"\N{LEFT DOUBLE ANGLE BRACKET}{mark}={line}\N{RIGHT DOUBLE ANGLE BRACKET}" for line in lines
            )
    sentences: list[Sentence] = []
    for _ in range(count):
        phase = pick(rng, [term.key for term in PHASES])
        drawn = expand(rng, pick(rng, speech.phases[phase]), rules)
        named = {tuple(match.partition("=")[0].split(":")) for match in NAMED.findall(drawn)}
        text = NAMED.sub(lambda match: match[1].partition("=")[2], drawn)
        named_keys = frozenset((category, key) for category, key in named)
        sentences.append(Sentence(text, named_keys, named_keys | {("phase", phase)}))
    return sentences


def score(sentences: list[Sentence], heard: Callable[[str], str]) -> Score:
    """Tag what is heard of each sentence and count, among the simulator's classes, what was found."""
    tagger, total, names = load_tagger(), Score(), load_speech().instrument_names
    for sentence in sentences:
        text = heard(sentence.text)
        mentions = tagger.find(text)
        found = {(mention.term.category, mention.term.term_id) for mention in mentions} & KEYS
        total.hits += len(found & sentence.named)
        total.missed += len(sentence.named - found)
        # An instrument that a template names outright is named.
        outright = {key for key in found - sentence.allowed if key[0] == "instrument"}
        outright = {key for key in outright if any(name in text.lower() for name in names[key[1]])}
        total.wrong += len(found - sentence.allowed - outright)
    return total


def mended(text: str, corrector: Corrector) -> str:
    """Return a text with its misheard terms corrected."""
    words = list(normal_words(text))
    for repair in reversed(corrector.find(words)):
        words[repair.first : repair.after] = [repair.meant]
    return " ".join(words)


def damage(rng: np.random.Generator, term: str) -> str:
    """Return a term as an untrained ear might write it: split, respelled by sound, or with a letter wrong."""
    kind = int(rng.integers(4))
    if kind == 0:
        place = int(rng.integers(3, len(term) - 2))
        return f"{term[:place]} {term[place:]}"
    if kind == 1:
        for old, new in (("ph", "f"), ("rh", "r"), ("c", "k"), ("y", "i"), ("x", "ks")):
            if old in term:
                return term.replace(old, new, 1)
    place = int(rng.integers(1, len(term) - 1))
    if kind == 2:
        vowels = "aeiou"
        places = [index for index, letter in enumerate(term) if index and letter in vowels]
        place = places[int(rng.integers(len(places)))] if places else place
        return term[:place] + pick(rng, [v for v in vowels if v != term[place]]) + term[place + 1 :]
    return term[:place] + term[place + 1 :]


def score_damage(count: int, seed: int, corrector: Corrector) -> dict[str, Any]:
    """Damage terms of the lexicon within plain sentences and count how many come back."""
    rng = np.random.default_rng(seed)
    terms = sorted(corrector.targets)
    outcome = {"restored": 0, "another": 0, "left": 0}
    for _ in range(count):
        term = pick(rng, terms)
        words = normal_words(f"and here you can see the {damage(rng, term)} under the microscope")
        if term in words:
            continue
        text = mended(" ".join(words), corrector)
        key = "restored" if term in text.split() else "left" if text == " ".join(words) else "another"
        outcome[key] += 1
    total = sum(outcome.values())
    return {"damaged": total, **{key: round(value / total, 4) for key, value in outcome.items()}}


def measure(sentences: int, seed: int) -> Mapping[str, Any]:
    """Return all figures."""
    drawn = draw_sentences(sentences, seed)
    corrector = load_corrector()
    by_rule = Corrector(replace(load_lexicon(), confusions=()), load_tagger())
    slips = np.random.default_rng(seed + 1)
    heard = {sentence.text: slur(slips, mishear(slips, sentence.text, 1.0)) for sentence in drawn}
    start = time.process_time()
    clean = score(drawn, lambda text: text)
    tag_s = time.process_time() - start
    words = sum(len(sentence.text.split()) for sentence in drawn)
    start = time.process_time()
    changed = sum(
        mended(sentence.text, corrector) != " ".join(normal_words(sentence.text)) for sentence in drawn
    )
    mend_s = time.process_time() - start
    return {
        "sentences": len(drawn),
        "clean": clean.told(),
        "misheard": score(drawn, lambda text: heard[text]).told(),
        "misheard_and_mended": score(drawn, lambda text: mended(heard[text], corrector)).told(),
        "misheard_and_mended_without_confusions": score(
            drawn, lambda text: mended(heard[text], by_rule)
        ).told(),
        "clean_sentences_changed": changed,
        "damage": score_damage(sentences, seed, by_rule),
        "words_tagged_per_s": round(words / tag_s),
        "words_mended_per_s": round(words / mend_s),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps(measure(options.sentences, options.seed), indent=2))


if __name__ == "__main__":
    main()
