# SPDX-License-Identifier: Apache-2.0
"""A small grammar for drawn speech: `{a|b|}` is a choice, `<name>` one of the templates of a rule."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

Rules = Mapping[str, Sequence[str]]

_CHOICE = re.compile(r"\{([^{}]*)\}")  # innermost braces first, so choices nest
_REFERENCE = re.compile(r"<(\w+)>")
_SPACE_BEFORE_MARK = re.compile(r"\s+([,.;:!?])")


def expand(rng: np.random.Generator, template: str, rules: Rules) -> str:
    """Draw one sentence from a template; runs of spaces shrink to one.

    Raises:
        KeyError: the template refers to a rule that is not in `rules`.
    """
    text = template
    while _CHOICE.search(text) or _REFERENCE.search(text):
        text = _CHOICE.sub(lambda match: pick(rng, match[1].split("|")), text)
        text = _REFERENCE.sub(lambda match: pick(rng, rules[match[1]]), text)
    return _SPACE_BEFORE_MARK.sub(r"\1", " ".join(text.split()))


def pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """Draw one of `choices`, each with the same chance."""
    return choices[int(rng.integers(len(choices)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with the given probability."""
    return bool(rng.random() < probability)
