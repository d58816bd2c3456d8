# SPDX-License-Identifier: Apache-2.0
"""Pictures with marked objects, in COCO or Supervisely JSON: which classes are in which picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ophclip.evaluate.datasets.cat21 import letters
from ophclip.evaluate.datasets.delimited import text_of
from ophclip.evaluate.datasets.media import line_of
from ophclip.evaluate.datasets.reading import Findings

NOT_SCORED = -1  # a category that is no class of the task: anatomy


@dataclass
class Picture:
    """One picture: the file, what annotates it and by which name, and the labels marked in it."""

    path: Path
    file: Path
    name: str
    labels: set[int] = field(default_factory=set)

    def line(self) -> int:
        """Return the line of `file` that names the picture; read again, for it is asked of errors alone."""
        return line_of(self.file.read_text(encoding="utf-8", errors="replace"), json.dumps(self.name))


@dataclass(frozen=True)
class Vocabulary:
    """Labels by the letters of a category's name, and what the categories are of."""

    of: str
    labels: Mapping[str, int]

    def label(self, name: object, file: Path, line: int, findings: Findings) -> int:
        """Return the label of a category; unscored, with an error, for an unknown one."""
        label = self.labels.get(letters(str(name)))
        if label is None:
            findings.error(
                "unknown-label", f"the category must be one of {self.of}, got {name!r}", file, line
            )
            return NOT_SCORED
        return label


def read_json(path: Path, findings: Findings) -> tuple[str, Any]:
    """Return the text and the content of a JSON file; None, with an error, where it is none."""
    text = text_of(path, findings)
    try:
        return text, json.loads(text) if text else None
    except json.JSONDecodeError as error:
        findings.error("unreadable", f"must be JSON, got an error: {error.msg}", path, error.lineno)
    except RecursionError:
        findings.error("unreadable", "must be JSON, got too deep a nesting", path)
    return text, None


def is_coco(content: Any) -> bool:
    """Return whether JSON has the three tables of COCO."""
    tables = ("images", "annotations", "categories")
    return isinstance(content, dict) and all(isinstance(content.get(name), list) for name in tables)


def coco_pictures(
    path: Path,
    text: str,
    content: dict[str, Any],
    pictures_by_name: Mapping[str, list[Path]],
    vocabulary: Vocabulary,
    findings: Findings,
) -> list[Picture]:
    """Return the pictures of a COCO file, in its order, with the labels of their annotations."""
    labels: dict[object, int] = {}
    for category in content["categories"]:
        name = category.get("name") if isinstance(category, dict) else None
        line = line_of(text, json.dumps(name))
        labels[_get(category, "id")] = vocabulary.label(name, path, line, findings)
    pictures: dict[object, Picture] = {}
    seen: set[str] = set()
    for image in content["images"]:
        name = str(_get(image, "file_name"))
        if name in seen or _get(image, "id") in pictures:
            line = line_of(text, json.dumps(name))
            findings.error("duplicate", f"the picture {name} or its id is there twice", path, line)
            continue
        seen.add(name)
        file = _file(path, name, pictures_by_name)
        if not file.is_file():
            line = line_of(text, json.dumps(name))
            findings.error("missing-file", f"the picture {name} is missing", path, line)
        pictures[_get(image, "id")] = Picture(file, path, name)
    for annotation in content["annotations"]:
        _mark(path, text, annotation, labels, pictures, findings)
    return list(pictures.values())


def _mark(
    path: Path,
    text: str,
    annotation: Any,
    labels: dict[object, int],
    pictures: dict[object, Picture],
    findings: Findings,
) -> None:
    image, category = _get(annotation, "image_id"), _get(annotation, "category_id")
    if image in pictures and category in labels:
        if labels[category] != NOT_SCORED:
            pictures[image].labels.add(labels[category])
        return
    what, value = ("image_id", image) if image not in pictures else ("category_id", category)
    kind = "unknown-picture" if what == "image_id" else "unnamed-label"
    line = line_of(text, f'"{what}": {json.dumps(value)}')
    findings.error(kind, f"{what} {value!r} of an annotation is nowhere described", path, line)


def supervisely_labels(path: Path, vocabulary: Vocabulary, findings: Findings) -> set[int]:
    """Return the labels of one picture's Supervisely file: `objects` with a `classTitle` each."""
    text, content = read_json(path, findings)
    objects = content.get("objects") if isinstance(content, dict) else None
    if not isinstance(objects, list):
        if all(finding.file != path for finding in findings.found):
            findings.error("malformed", "must have a list of objects", path, 1)
        return set()
    titles = {str(_get(marked, "classTitle")) for marked in objects}
    found = {
        vocabulary.label(title, path, line_of(text, json.dumps(title)), findings) for title in sorted(titles)
    }
    return found - {NOT_SCORED}


def _file(path: Path, name: str, by_name: Mapping[str, list[Path]]) -> Path:
    """Return the picture that a COCO file means: as its path says, or the one of that name nearest to it."""
    direct = path.parent / name
    if direct.is_file():
        return direct
    same = by_name.get(Path(name).name, [])
    near = [file for file in same if _shares_folder(file, path, name)]
    return (near or same or [direct])[0]


def _shares_folder(file: Path, path: Path, name: str) -> bool:
    wanted = Path(name).parent.name or path.parent.name
    return wanted in file.parts[:-1]


def _get(record: Any, key: str) -> Any:
    value = record.get(key) if isinstance(record, dict) else None
    return value if isinstance(value, str | int | float) else None
