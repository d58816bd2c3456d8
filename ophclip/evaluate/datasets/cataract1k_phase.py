# SPDX-License-Identifier: Apache-2.0
"""Cataract-1K phases: a folder a case with first and last frames, and the frame rate in a fifth column."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from ophclip.evaluate.datasets.cat21 import letters
from ophclip.evaluate.datasets.delimited import number, rate, rows_of, whole
from ophclip.evaluate.datasets.media import files_under, videos_by_stem
from ophclip.evaluate.datasets.reading import Adapter, Facts, Findings, Published, Reading, Recording, Span

ENDINGS = ("_annotations_phases.csv", "_annotations.csv")  # as downloaded; as the authors' scripts name it
MAX_DISAGREEMENT_S = 1  # between a row's frames by the rate and its own seconds, which are rounded

FACTS = Facts(
    name="cataract1k-phase",
    title="Cataract-1K, phases",
    task="phase",
    unit="second",
    classes=(
        "incision",
        "viscoelastic",
        "capsulorhexis",
        "hydrodissection",
        "phacoemulsification",
        "irrigation_aspiration",
        "capsule_polishing",
        "lens_implantation",
        "lens_positioning",
        "viscoelastic_suction",
        "anterior_chamber_flushing",
        "tonifying_antibiotics",
    ),
    licence="CC BY 4.0",
    where="Synapse: syn53395146 (Cataract-1K, phase recognition)",
    split="none official: all videos are scored; a probe draws its own by video, seeded",
    background="idle",
    gaps="background",
    published=(Published("videos", 56),),
    prompts="cataract1k_phase.toml",
)

# "Pulishing" is how the files spell it.
SPELLINGS = {"capsulepulishing": "capsule_polishing"} | {letters(name): name for name in FACTS.classes}


def _read(root: Path, findings: Findings, thorough: bool) -> Reading:
    videos = videos_by_stem(root, findings)
    tables = {
        path.name.removesuffix(ending): path
        for path in files_under(root)
        for ending in ENDINGS
        if path.name.endswith(ending)
    }
    if not tables:
        findings.error("missing-file", f"there must be files <case>{ENDINGS[0]}", root)
    recordings = [_recording(case, path, videos, findings) for case, path in sorted(tables.items())]
    for case in sorted(set(videos) - set(tables)):
        findings.error("unlabelled-video", f"has no {case}{ENDINGS[0]}", videos[case])
    return Reading(recordings)


def _recording(case: str, path: Path, videos: dict[str, Path], findings: Findings) -> Recording:
    video = videos.get(case, path.parent / f"{case}.mp4")
    fps = _rate(path.with_name(f"{case}_video.csv"), findings)
    return Recording(case, video, path, spans=_spans(path, fps, findings) if fps else (), rate=fps)


def _rate(path: Path, findings: Findings) -> Fraction | None:
    rows = list(rows_of(path, findings))
    if len(rows) < 2 or len(rows[1][1]) < 5:
        if all(finding.file != path for finding in findings.found):
            findings.error("malformed", "must have a header and one row with the fps in column 5", path, 1)
        return None
    line, fields = rows[1]
    return rate(fields[4], "the fps in column 5", findings, path, line)


def _spans(path: Path, fps: Fraction, findings: Findings) -> tuple[Span, ...]:
    rows = list(rows_of(path, findings))
    spans = []
    for line, fields in rows[1:]:
        if len(fields) < 4:
            said = f"a row must have case, phase, first and last frame, got {len(fields)} fields"
            findings.error("malformed", said, path, line)
            continue
        span = _span(path, line, fields, fps, findings)
        if span is not None:
            _compare_seconds(path, line, rows[0][1], fields, span, findings)
            spans.append(span)
    if not rows:
        findings.error("malformed", "must start with a header, got an empty file", path, 1)
    return tuple(spans)


def _span(path: Path, line: int, fields: list[str], fps: Fraction, findings: Findings) -> Span | None:
    known = SPELLINGS.get(letters(fields[1]))
    first = whole(fields[2], "the first frame", findings, path, line)
    last = whole(fields[3], "the last frame", findings, path, line)
    if known is None:
        findings.error(
            "unknown-label", f"the phase must be one of Cataract-1K's, got {fields[1]!r}", path, line
        )
    elif first is not None and last is not None:
        if last < first:
            findings.error(
                "malformed", f"the last frame must not precede the first, got {first} to {last}", path, line
            )
        else:
            return Span(first / fps, last / fps, FACTS.classes.index(known), line)
    return None


def _compare_seconds(
    path: Path, line: int, header: list[str], fields: list[str], span: Span, findings: Findings
) -> None:
    """Where the row gives seconds too, they must be those of its frames."""
    names = [letters(name) for name in header]
    if "sec" not in names or len(fields) <= names.index("sec"):
        return
    said = number(fields[names.index("sec")], "sec", findings, path, line)
    if said is not None and abs(said - span.start) > MAX_DISAGREEMENT_S:
        findings.warning(
            "rate",
            f"the first frame is second {float(span.start):g} at the fps of column 5, "
            f"the row says {float(said):g}",
            path,
            line,
        )


ADAPTER = Adapter(FACTS, _read)
