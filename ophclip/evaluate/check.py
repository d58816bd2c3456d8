# SPDX-License-Identifier: Apache-2.0
"""Check a download before any GPU time: files, labels and counts, each finding with file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ophclip import console
from ophclip.corpus.simulate.world import MARKER
from ophclip.errors import EXIT_DAMAGE, EXIT_OK, OphclipError, UsageError
from ophclip.evaluate.check_files import check_file
from ophclip.evaluate.datasets.labels import holes, overlaps
from ophclip.evaluate.datasets.reading import Facts, Finding, Findings, Published, Reading, Recording, Span
from ophclip.evaluate.datasets.registry import adapter_of, names
from ophclip.evaluate.prompts import load_prompts


@dataclass(frozen=True)
class Count:
    """How many there are of something, and how many there should be."""

    what: str
    found: int
    published: int
    source: str  # stated, read or recalled


@dataclass
class CheckReport:
    """What a check found; `defects` are errors and warnings."""

    dataset: str
    root: Path
    counts: list[Count] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def defects(self) -> list[Finding]:
        """The findings that are more than a note."""
        return [finding for finding in self.findings if finding.severity != "note"]

    @property
    def exit_code(self) -> int:
        """4 where there are defects, else 0."""
        return EXIT_DAMAGE if self.defects else EXIT_OK

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        return {
            "dataset": self.dataset,
            "root": str(self.root),
            "defects": len(self.defects),
            "counts": [vars(count) for count in self.counts],
            "findings": [{**vars(finding), "file": str(finding.file)} for finding in self.findings],
        }


def check_dataset(name: str, root: Path) -> CheckReport:
    """Read all labels, probe all videos and compare the counts with the published ones.

    Nothing is decoded but the first frame of each video; nothing is written.

    Raises:
        UsageError: there is no such dataset, or `root` is no folder.
    """
    adapter = adapter_of(name)
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder", remedy=f"pass the folder of {name} as --root")
    findings = Findings()
    reading = adapter.read(root, findings, True)
    with console.progress("check", len(reading.recordings), "recordings") as bar:
        for recording in reading.recordings:
            _check_spans(adapter.facts, recording, findings)
            check_file(recording, findings)
            bar.advance()
    expected, shown = _expected(adapter.facts, root)
    counts = [_count(what, reading.recordings) for what in expected]
    _check_counts(counts, root, findings)
    _check_classes(adapter.facts, reading, shown, root, findings)
    return CheckReport(name, root, counts, findings.found)


def list_datasets() -> list[dict[str, Any]]:
    """Return what is known of each dataset without reading it, as plain JSON types."""
    listed = []
    for name in names():
        facts = adapter_of(name).facts
        listed.append(
            {
                "name": name,
                "title": facts.title,
                "task": facts.task,
                "labels": f"a {facts.unit}",
                "classes": len(facts.classes) or None,
                "licence": facts.licence,
                "split": facts.split,
                "where": facts.where,
                "published": {part.what: part.count for part in facts.published},
            }
        )
    return listed


def _check_spans(facts: Facts, recording: Recording, findings: Findings) -> None:
    path = recording.labels_file
    for span in recording.spans:
        if span.end == span.start:
            findings.note("empty-span", f"{recording.video_id}: the label lasts no time", path, span.line)
    for pair in overlaps(recording.spans):
        said = (
            f"{recording.video_id}: two labels at {_seconds(pair.second)}, "
            f"the other one on line {pair.first.line}"
        )
        if facts.overlaps_are_published:
            findings.note(
                "overlap", f"{said}; as published, its seconds are not scored", path, pair.second.line
            )
        else:
            findings.warning("overlap", said, path, pair.second.line)
    for before, after in holes(recording.spans):
        assert before.end is not None
        said = f"{recording.video_id}: no label from {float(before.end):g} to {float(after.start):g} s"
        if facts.gaps == "defect":
            findings.warning("gap", said, path, after.line)
        else:
            findings.note("gap", said, path, after.line)
    if facts.task == "phase" and not recording.spans:
        findings.error("unlabelled-video", f"{recording.video_id} has no label", path, recording.line)


def _seconds(span: Span) -> str:
    end = "the end" if span.end is None else f"{float(span.end):g} s"
    return f"{float(span.start):g} s to {end}"


def _expected(facts: Facts, root: Path) -> tuple[Sequence[Published], frozenset[str] | None]:
    """Return the counts to find, and the classes that must occur (None: all): a simulation tells its own."""
    path = root / MARKER
    if not path.is_file():
        return facts.published, None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        counts, shown = told.get("counts", {}).items(), frozenset(told.get("shown", []))
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"{path} is not a simulation's: {error}", remedy="remove that file") from error
    return [Published(what, number) for what, number in counts], shown


def _count(published: Published, recordings: Sequence[Recording]) -> Count:
    what, _, split = published.what.partition(".")
    chosen = [recording for recording in recordings if split in ("", recording.split)]
    sizes = {
        "videos": len(chosen),
        "clips": sum(len(recording.spans) for recording in chosen),
        "pictures": sum(len(recording.pictures) for recording in chosen),
    }
    return Count(published.what, sizes.get(what, 0), published.count, published.source)


def _check_counts(counts: Sequence[Count], root: Path, findings: Findings) -> None:
    for count in counts:
        if count.found != count.published:
            said = f"there must be {count.published} {count.what.replace('.', ' of ')}, got {count.found}"
            findings.warning("count", said, root)


def _check_classes(
    facts: Facts, reading: Reading, shown: frozenset[str] | None, root: Path, findings: Findings
) -> None:
    phases = reading.phases or (facts.classes if facts.task == "phase" else ())
    instruments = reading.instruments or (facts.classes if facts.task == "instruments" else ())
    seen = {span.label for recording in reading.recordings for span in recording.spans}
    empty = [name for label, name in enumerate(phases) if label not in seen]
    tables = [recording.presence for recording in reading.recordings if recording.presence is not None]
    for label, name in enumerate(instruments):
        if not any(table[:, label].any() for table in tables):
            empty.append(name)
    for name in empty:
        if shown is None or name in shown:
            findings.warning("empty-class", f"the class {name} never occurs", root)
    for reason in _prompt_problems(facts, reading, phases, instruments):
        findings.error("prompts", reason, Path(reading.prompts or facts.prompts))


def _prompt_problems(
    facts: Facts, reading: Reading, phases: Sequence[str], instruments: Sequence[str]
) -> Iterator[str]:
    if not reading.recordings or not (phases or instruments):
        return
    try:
        prompts = load_prompts(reading.prompts or facts.prompts)
        prompts.for_classes("phases", [*phases, *filter(None, [facts.background if phases else ""])], "all")
        prompts.for_classes("instruments", list(instruments), "all")
    except OphclipError as error:
        yield error.message
