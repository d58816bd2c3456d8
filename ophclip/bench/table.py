# SPDX-License-Identifier: Apache-2.0
"""Results as lines of text: one table, a section a kind of case, the targets with the true figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ophclip.bench.result import Result, Verdict

LEGEND = (
    "ours: median of the rounds, and half their interquartile range. A peer's column is its time as a",
    "multiple of ours, the median of the rounds' ratios: above 1, ours is faster. floor: the arithmetic at",
    "the speed of torch's own matrix product (int8: 4 times that of fp32), or reading the base once at the",
    "speed of a large sum (on a GPU: of a copy), whichever takes longer.",
)


def render(results: Sequence[Result], facts: dict[str, Any]) -> list[str]:
    """Return the table as lines."""
    lines = [_title(facts), *LEGEND, *facts["notes"]]
    for section, members in _sections(results).items():
        peers = list(dict.fromkeys(name for result in members for name in result.ratios))
        head = [section, "ours ms", "+-", *peers, "floor ms", "% of floor", "target: figure"]
        lines += ["", *_aligned([head, *(_row(result, peers) for result in members)])]
    failed = [f"FAILED: {result.case}: {result.error}" for result in results if result.error]
    absences = [*_skipped(results), *failed]
    return [*lines, "", *absences, *([""] if absences else []), _summary(results)]


def _title(facts: dict[str, Any]) -> str:
    where = (
        facts["gpu"] or f"{facts['threads']} threads, {facts['cpu']}, {facts['isa'] or 'no native kernels'}"
    )
    ceilings = ", ".join(f"{value:.3g} {name}" for name, value in facts["ceilings"].items())
    switches = "".join(f", {name}={value}" for name, value in facts["switches"].items())
    return (
        f"ophclip {facts['ophclip']} beside its peers: {where}, torch {facts['torch']}{switches}; {ceilings}"
    )


def _sections(results: Iterable[Result]) -> dict[str, list[Result]]:
    sections: dict[str, list[Result]] = {}
    for result in results:
        sections.setdefault(result.section, []).append(result)
    return sections


def _row(result: Result, peers: Sequence[str]) -> list[str]:
    percent = result.percent_of_floor
    return [
        result.case,
        _milliseconds(result.ours_s),
        _milliseconds(result.spread_s if result.ours_s else None),
        *(f"{result.ratios[name].value:.2f}" if name in result.ratios else "-" for name in peers),
        _milliseconds(result.floor_s),
        f"{percent:.0f}" if percent is not None else "-",
        "; ".join([*(_verdict(verdict) for verdict in result.verdicts), *_figures(result)]),
    ]


def _verdict(verdict: Verdict) -> str:
    if verdict.figure is None:
        return f"{verdict.target}: not measured"
    return f"{verdict.target}: {_number(verdict.figure)} {'met' if verdict.met else 'MISSED'}"


def _figures(result: Result) -> list[str]:
    judged = {verdict.target.rsplit(" ", 2)[0] for verdict in result.verdicts}
    return [f"{_number(value)} {name}" for name, value in result.figures.items() if name not in judged]


def _number(value: float) -> str:
    value = round(value, 2) + 0.0  # no minus before a zero
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.2f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        inner = (cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *inner, row[-1]]).rstrip())
    return lines


def _skipped(results: Iterable[Result]) -> list[str]:
    """Name each peer that did not run and why, once for all cases with the same reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for peer, reason in result.skipped.items():
            found.setdefault((peer, reason), []).append(result.case)
    return [f"without {peer} ({', '.join(names)}): {reason}" for (peer, reason), names in found.items()]


def _summary(results: Iterable[Result]) -> str:
    verdicts = [verdict for result in results for verdict in result.verdicts]
    met = sum(verdict.met is True for verdict in verdicts)
    missed = sum(verdict.met is False for verdict in verdicts)
    open_ones = len(verdicts) - met - missed
    return f"{len(verdicts)} targets: {met} met, {missed} missed, {open_ones} not measured"
