# SPDX-License-Identifier: Apache-2.0
"""Prompts: sentences that describe each class, read from versioned files whose hash goes into the result."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ophclip.corpus.tables import Problems, read_rows
from ophclip.errors import UsageError

FOLDER = Path(__file__).with_name("prompt_sets")
EXAMPLE = FOLDER / "simulated.toml"
NAMED_LABELS, OTHERS = "ophnet.toml", "others"

Variant = Literal["name", "template", "description", "all"]
VARIANTS: tuple[Variant, ...] = ("name", "template", "description", "all")
TASKS = ("phases", "instruments")


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

    def for_classes(self, task: str, classes: Sequence[str], variant: Variant) -> Prompts:
        """Return the sentences of `classes` of a task ("phases" or "instruments").

        Raises:
            UsageError: a class has no prompt.
        """
        plain = self.tables["names"].get(task, {})
        unknown = [name for name in classes if name not in plain]
        if unknown:
            raise UsageError(
                f"{self.name} has no prompt for {task[:-1]} {unknown[0]!r}",
                remedy="add it to the prompts file",
            )
        if not classes:
            return Prompts([], [])
        templates = self.tables["template"]
        described = self.tables["description"][task]
        return Prompts(
            positives=[
                _sentences(plain[name], templates[task], described[name], variant) for name in classes
            ],
            negatives=[_filled(templates["negatives"], plain[name]) for name in classes],
        )


def load_prompts(name: str) -> PromptFile:
    """Read a prompts file of this package, or a user's own by path.

    A table of labels (`.csv` with id, name and prompt; several sentences of a prompt are parted by `|`) is
    read too: its names fill the templates of OphNet, and one that has no prompt takes the sentences that
    OphNet's file has for it.

    Raises:
        UsageError: there is no such file, it is not a prompts file, a class has a name but no description
            (or the reverse), a list is empty, or two classes share a name or a description.
    """
    path = FOLDER / name if (FOLDER / name).is_file() else Path(name)
    if path.suffix.lower() == ".csv":
        return _from_labels(path)
    try:
        content = path.read_bytes()
        tables = tomllib.loads(content.decode("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} is not a prompts file: {reason}", remedy=f"see {EXAMPLE}") from error
    problem = next(_problems(tables), None)
    if problem:
        raise UsageError(f"{path}: {problem}", remedy=f"write it as {EXAMPLE} is")
    return PromptFile(path.name, tables["version"], hashlib.sha256(content).hexdigest(), tables)


def _from_labels(path: Path) -> PromptFile:
    known = load_prompts(NAMED_LABELS)
    problems = Problems(path)
    names: dict[str, str] = {}
    described: dict[str, list[str]] = {}
    for row in read_rows(path, ("id", "name"), problems):
        name = row.values["name"].strip()
        names[name.casefold()] = name
        told = [part.strip() for part in row.values.get("prompt", "").split("|")]
        described[name.casefold()] = [part for part in told if part] or _known_sentences(known, name)
    problems.raise_if_any()
    names.setdefault(OTHERS, known.tables["names"]["phases"][OTHERS])
    described.setdefault(OTHERS, known.tables["description"]["phases"][OTHERS])
    tables = {
        "version": known.version,
        "template": known.tables["template"],
        "names": {"phases": names},
        "description": {"phases": described},
    }
    problem = next(_problems(tables), None)
    if problem:
        raise UsageError(f"{path}: {problem}", remedy="write id,name,prompt, each name and prompt once")
    digest = hashlib.sha256(path.read_bytes() + known.sha256.encode())
    return PromptFile(path.name, known.version, digest.hexdigest(), tables)


def _known_sentences(known: PromptFile, name: str) -> list[str]:
    wanted = "".join(filter(str.isalnum, name)).casefold()
    for key, plain in known.tables["names"]["phases"].items():
        if wanted in ("".join(filter(str.isalnum, text)).casefold() for text in (key, plain)):
            return list(known.tables["description"]["phases"][key])
    return [f"the step of eye surgery that is called {name}"]


def _problems(tables: dict[str, Any]) -> Iterator[str]:
    """Say what is wrong with a prompts file; what follows a problem may rely on its absence."""
    version = tables.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        yield f"version must be an integer, got {version!r}"
    for name in ("template", "names", "description"):
        if not isinstance(tables.get(name), dict):
            yield f"there must be a table [{name}]"
    tasks = [task for task in TASKS if task in tables["names"]]
    if not tasks:
        yield "there must be a table [names.phases] or [names.instruments]"
    for name in (*tasks, "negatives"):
        yield from _list_problems(f"template.{name}", tables["template"].get(name))
    for task in tasks:
        yield from _class_problems(task, tables["names"][task], tables["description"].get(task))


def _class_problems(task: str, names: Any, described: Any) -> Iterator[str]:
    if not isinstance(names, dict) or not isinstance(described, dict):
        yield f"[names.{task}] and [description.{task}] must be tables"
    for key in sorted({*names, *described}):
        if key not in names or key not in described:
            yield f"{key!r} must be in both names.{task} and description.{task}"
        if not isinstance(names[key], str) or not names[key].strip():
            yield f"names.{task}.{key} must be a plain name, got {names[key]!r}"
        yield from _list_problems(f"description.{task}.{key}", described[key])
    yield from _shared(task, {key: [names[key], *described[key]] for key in names})


def _shared(task: str, texts: dict[str, list[str]]) -> Iterator[str]:
    said: dict[str, str] = {}
    for key, sentences in texts.items():
        for text in sentences:
            first = said.setdefault(text.strip().casefold(), key)
            if first != key:
                yield f"{text!r} must describe one of the {task}, got it for {first!r} and {key!r}"


def _list_problems(where: str, texts: Any) -> Iterator[str]:
    if not isinstance(texts, list) or not texts:
        yield f"{where} must be a list of sentences, got {texts!r}"
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            yield f"{where} must hold sentences, got {text!r}"
    if len(set(texts)) < len(texts):
        yield f"{where} must hold each sentence once"


def _sentences(name: str, templates: list[str], described: list[str], variant: Variant) -> list[str]:
    filled = _filled(templates, name)
    choices = {"name": [name], "template": filled, "description": described}
    return [name, *filled, *described] if variant == "all" else choices[variant]


def _filled(templates: list[str], name: str) -> list[str]:
    return [template.replace("{}", name) for template in templates]
