# SPDX-License-Identifier: Apache-2.0
"""Prompts: sentences that describe each class, read from versioned files whose hash goes into the result."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ophclip.errors import UsageError

FOLDER = Path(__file__).with_name("prompt_sets")

Variant = Literal["name", "template", "description", "all"]
VARIANTS: tuple[Variant, ...] = ("name", "template", "description", "all")


@dataclass(frozen=True)
class Prompts:
    """Sentences of each class of one task, in class order; `negatives` say that it is absent."""

    positives: list[list[str]]
    negatives: list[list[str]]


@dataclass(frozen=True)
class PromptFile:
    """A prompts file: its tables, name, version and hash."""

    name: str
    version: int
    sha256: str
    tables: dict[str, Any]

    def for_classes(self, task: str, classes: list[str], variant: Variant) -> Prompts:
        """Return the sentences of `classes` of a task ("phases" or "instruments").

        Raises:
            UsageError: a class has no prompt.
        """
        plain = self.tables["names"][task]
        unknown = [name for name in classes if name not in plain]
        if unknown:
            raise UsageError(
                f"{self.name} has no prompt for {task[:-1]} {unknown[0]!r}",
                remedy="add it to the prompts file",
            )
        templates = self.tables["template"]
        described = self.tables["description"][task]
        return Prompts(
            positives=[
                _sentences(plain[name], templates[task], described[name], variant) for name in classes
            ],
            negatives=[[text.format(plain[name]) for text in templates["negatives"]] for name in classes],
        )


def load_prompts(name: str) -> PromptFile:
    """Read a prompts file of this package, or a user's own by path.

    Raises:
        UsageError: there is no such file, or it is not a prompts file.
    """
    path = FOLDER / name if (FOLDER / name).is_file() else Path(name)
    try:
        content = path.read_bytes()
        tables = tomllib.loads(content.decode("utf-8"))
        version = int(tables["version"])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise UsageError(f"{path} is not a prompts file: {error}", remedy="see docs/evaluation.md") from error
    return PromptFile(path.name, version, hashlib.sha256(content).hexdigest(), tables)


def _sentences(name: str, templates: list[str], described: list[str], variant: Variant) -> list[str]:
    filled = [template.format(name) for template in templates]
    choices = {"name": [name], "template": filled, "description": described}
    return [name, *filled, *described] if variant == "all" else choices[variant]
