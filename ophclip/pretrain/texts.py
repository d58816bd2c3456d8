# SPDX-License-Identifier: Apache-2.0
"""The texts of a corpus, each tokenised once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ophclip.models.tokens import Tokenizing, Tokens


class TextStore:
    """Texts by number, as the text tower reads them: tokens where it takes them, else strings."""

    def __init__(self, texts: Sequence[str], max_tokens: int, tower: nn.Module) -> None:
        self._texts, self._max_tokens = texts, max_tokens
        self._tower = cast(Tokenizing, tower) if isinstance(tower, Tokenizing) else None
        self._tokens: list[NDArray[np.int32] | None] = [None] * len(texts)

    def batch(self, numbers: NDArray[np.int64]) -> Tokens | list[str]:
        """Return the texts of these numbers; what is new is tokenised now, and kept."""
        wanted = numbers.tolist()
        if self._tower is None:
            return [self._texts[number] for number in wanted]
        new = [number for number in dict.fromkeys(wanted) if self._tokens[number] is None]
        if new:
            found = self._tower.tokenize([self._texts[number] for number in new], self._max_tokens)
            for number, ids in zip(new, found, strict=True):
                self._tokens[number] = ids
        return Tokens.of([cast("NDArray[np.int32]", self._tokens[number]) for number in wanted])
