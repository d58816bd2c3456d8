# SPDX-License-Identifier: Apache-2.0
"""Folders of results as a comparison reads them: each with the name of its run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ophclip.errors import DamageError, UsageError
from ophclip.evaluate.predictions import FACTS
from ophclip.evaluate.report_parts import SECTIONS

METRICS = "metrics.json"


@dataclass(frozen=True)
class Result:
    """What an evaluation wrote: the run it belongs to, the numbers as in metrics.json, and its folders.

    There are several folders where a probe was repeated under several seeds: the numbers are means.
    """

    run: str
    folders: tuple[Path, ...]
    numbers: dict[str, Any]

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return str(self.numbers["dataset"])

    @property
    def data_sha256(self) -> str:
        """What is scored: videos, labels and class names."""
        return str(self.numbers["data_sha256"])

    @property
    def protocol(self) -> str:
        """The protocol's name and version."""
        return str(self.numbers["protocol"])

    def as_dict(self) -> dict[str, Any]:
        """Return where it lies and what made it."""
        facts = ("dataset", "data_sha256", "protocol", "weights", "prompts")
        folders = [str(folder) for folder in self.folders]
        return {"run": self.run, "folders": folders, **{name: self.numbers[name] for name in facts}}


def load_results(folders: Sequence[str]) -> list[Result]:
    """Read folders of results, each FOLDER or NAME=FOLDER, and name the run of each.

    Without a name, a run is called as its folder: that around `evaluate-DATASET`, or the results' own. Runs
    of one name have more of their path in it.

    Raises:
        UsageError: fewer than two, something that is no result, or two of one run and dataset.
        DamageError: a metrics.json is damaged.
    """
    if len(folders) < 2:
        raise UsageError(
            f"a comparison needs two or more results, got {len(folders)}",
            remedy="pass two folders that ophclip evaluate wrote",
        )
    named = [_parted(folder) for folder in folders]
    homes = [_home(path) for name, path in named if not name]
    results = [
        result
        for name, path in named
        for result in _results(name or _short_name(_home(path), homes), path, is_named=bool(name))
    ]
    _refuse_twice(results)
    return results


def _results(run: str, folder: Path, *, is_named: bool) -> list[Result]:
    """Return the result in a folder; of a series of probes one a setting, with its means over seeds."""
    numbers = _read(folder)
    if "settings" not in numbers:
        probe = f" {numbers['setting']} seed-{numbers['seed']}" if "setting" in numbers else ""
        return [Result(run if is_named else run + probe, (folder,), numbers)]
    return [
        Result(
            f"{run} {setting}",
            tuple(folder / setting / f"seed-{seed}" for seed in told["seeds"]),
            {**numbers, **{section: _means(told[section]) for section in SECTIONS if section in told}},
        )
        for setting, told in numbers["settings"].items()
    ]


def _means(scores: dict[str, Any]) -> dict[str, float | None]:
    return {name: over_seeds["mean"] for name, over_seeds in scores.items()}


def _parted(text: str) -> tuple[str, Path]:
    name, sign, folder = text.partition("=")
    return (name, Path(folder)) if sign and folder and not Path(text).exists() else ("", Path(text))


def _home(folder: Path) -> Path:
    whole = folder.resolve()
    if whole.name.startswith("seed-"):  # one probe of a series
        whole = whole.parent.parent
    return whole.parent if whole.name.startswith("evaluate-") else whole


def _short_name(home: Path, homes: Sequence[Path]) -> str:
    """Return the end of a path that no other one has."""
    others = {other.parts for other in homes if other != home}
    for length in range(1, len(home.parts)):
        if all(other[-length:] != home.parts[-length:] for other in others):
            return str(Path(*home.parts[-length:]))
    return str(home)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / METRICS
    if not path.is_file():
        raise UsageError(
            f"{folder} holds no results: {METRICS} is not there",
            remedy="pass folders that ophclip evaluate wrote",
        )
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damage(path, f"it is not JSON ({error})") from error
    if not isinstance(numbers, dict):
        raise _damage(path, "it holds no object")
    missing = [name for name in FACTS if name not in numbers]
    if missing:
        raise _damage(path, f"{missing[0]!r} is missing")
    return numbers


def _damage(path: Path, problem: str) -> DamageError:
    remedy = f"make it anew: ophclip evaluate --from {path.parent}"
    return DamageError(f"{path} is damaged: {problem}", remedy=remedy)


def _refuse_twice(results: Sequence[Result]) -> None:
    seen: dict[tuple[str, str], Result] = {}
    for result in results:
        other = seen.setdefault((result.run, result.dataset), result)
        if other is not result:
            raise UsageError(
                f"{other.folders[0]} and {result.folders[0]} are both {result.run!r} on {result.dataset}",
                remedy="give them names: ophclip compare one=FOLDER other=FOLDER",
            )
