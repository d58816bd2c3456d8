# SPDX-License-Identifier: Apache-2.0
"""The words of the simulator: templates and synonyms, kept as data in `speech.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

Lines = tuple[str, ...]


@dataclass(frozen=True)
class Speech:
    """Templates for `grammar.expand`, by phase, by instrument, or for any moment (`talk`)."""

    talk: dict[str, Lines]
    openings: dict[str, Lines]
    procedure_names: dict[str, Lines]
    phase_names: dict[str, Lines]
    instrument_names: dict[str, Lines]
    instrument_actions: dict[str, Lines]
    phases: dict[str, Lines]
    misheard: dict[str, Lines]

    @cached_property
    def rules(self) -> dict[str, Lines]:
        """All that a template may refer to by name."""
        return {**self.openings, **self.phase_names, **self.instrument_names}


@cache
def load_speech() -> Speech:
    """Read the words that come with the package."""
    data = files("ophclip.corpus.simulate").joinpath("speech.toml").read_text(encoding="utf-8")
    return Speech(
        **{
            name: {key: tuple(lines) for key, lines in table.items()}
            for name, table in tomllib.loads(data).items()
        }
    )
