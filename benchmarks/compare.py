# SPDX-License-Identifier: Apache-2.0
"""Holds a run of the benchmarks to a stored baseline, by ratios: seconds belong to one machine and one day.

    make bench                                                          # writes .benchmarks/latest.json
    python benchmarks/compare.py benchmarks/baseline.json .benchmarks/latest.json
    python benchmarks/compare.py --write-baseline benchmarks/baseline.json .benchmarks/latest.json

Exit codes: 0 no regression, 1 a regression or a missing test, 2 wrong usage or files that cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
MUST_AGREE = ("threads", "isa", "device")
KEPT_FACTS = ("date", "command", "device", "threads", "isa", "cpu", "gpu", "torch", "python")
LIMIT, NOISE_FLOOR = 0.1, 0.03


class UnusableError(Exception):
    """The files cannot be read or must not be compared; exit code 2."""


@dataclass(frozen=True)
class Measured:
    """A peer's time over ours, and half the interquartile range of the rounds."""

    ratio: float
    spread: float


@dataclass(frozen=True)
class Run:
    """The ratios of one run by test and peer; `limits` are the largest allowed falls of single tests."""

    facts: dict[str, Any]
    tests: dict[str, dict[str, Measured]]
    limits: dict[str, float]


@dataclass(frozen=True)
class Change:
    """How one ratio moved; `fall` is the part of the old ratio that is gone, negative where it rose."""

    test: str
    peer: str
    old: Measured
    new: Measured | None
    limit: float

    @property
    def fall(self) -> float:
        return 0.0 if self.new is None else 1 - self.new.ratio / self.old.ratio

    def state(self, noise_floor: float) -> str:
        """Say what the change is: missing, REGRESSION, noise, ok or better."""
        if self.new is None:
            return "missing"
        if self.fall <= self.limit:
            return "better" if self.fall < -self.limit else "ok"
        is_noise = self.fall <= noise_floor
        is_noise |= self.old.ratio - self.new.ratio <= max(self.old.spread, self.new.spread)
        return "noise" if is_noise else "REGRESSION"


def read_run(path: Path) -> Run:
    """Read a baseline, or what pytest-benchmark wrote.

    Raises:
        UnusableError: the file is neither.
    """
    try:
        stored = json.loads(path.read_text())
        run = _from_baseline(stored) if "format" in stored else _from_pytest_benchmark(stored)
    except OSError as error:
        raise UnusableError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        kind = f"{type(error).__name__}: {error}"
        raise UnusableError(f"{path} is neither a baseline nor a run of `make bench` ({kind})") from error
    if not any(run.tests.values()):
        raise UnusableError(f"{path} holds no ratios")
    return run


def _from_baseline(stored: dict[str, Any]) -> Run:
    if stored["format"] != FORMAT:
        raise ValueError(f"format {stored['format']}, this program reads {FORMAT}")
    tests = {
        name: {peer: _measured(*pair) for peer, pair in test["ratios"].items()}
        for name, test in stored["tests"].items()
    }
    limits = {name: float(test["limit"]) for name, test in stored["tests"].items() if "limit" in test}
    return Run(stored["made"], tests, limits)


def _from_pytest_benchmark(stored: dict[str, Any]) -> Run:
    tests = {}
    for benchmark in stored["benchmarks"]:
        info = benchmark["extra_info"]
        ratios = {peer: _measured(found["value"], found["spread"]) for peer, found in info["ratios"].items()}
        tests[info["case"]] = ratios  # none where a case has figures alone
    return Run({name: stored["ophclip"][name] for name in KEPT_FACTS}, tests, {})


def _measured(ratio: float, spread: float) -> Measured:
    if not ratio > 0 or not spread >= 0:
        raise ValueError(f"a ratio must be above 0 and a spread not below it, got {ratio} and {spread}")
    return Measured(float(ratio), float(spread))


def changes(baseline: Run, new: Run, limit: float) -> Iterator[Change]:
    """Pair every ratio of the baseline with the new one."""
    for test, peers in baseline.tests.items():
        for peer, old in peers.items():
            found = new.tests.get(test, {}).get(peer)
            yield Change(test, peer, old, found, baseline.limits.get(test, limit))


def check_comparable(baseline: Run, new: Run) -> None:
    """Refuse runs of other threads, instruction set or device: their ratios differ by right.

    Raises:
        UnusableError: they do differ.
    """
    for name in MUST_AGREE:
        old, now = baseline.facts.get(name), new.facts.get(name)
        if old != now:
            raise UnusableError(f"{name} must agree: the baseline has {old}, the new run {now}; run it alike")


def write_baseline(path: Path, new: Run) -> None:
    """Write the small readable form, a line a test; limits of an earlier baseline there are kept."""
    limits = read_run(path).limits if path.exists() else {}
    tests = []
    for name, peers in new.tests.items():
        ratios = {peer: [round(found.ratio, 3), round(found.spread, 3)] for peer, found in peers.items()}
        own = {"limit": limits[name]} if name in limits else {}
        tests.append(f"    {json.dumps(name)}: {json.dumps({**own, 'ratios': ratios})}")
    made = json.dumps({name: new.facts[name] for name in KEPT_FACTS}, indent=4).replace("\n}", "\n  }")
    text = f'{{\n  "format": {FORMAT},\n  "made": {made},\n  "tests": {{\n' + ",\n".join(tests) + "\n  }\n}\n"
    path.write_text(text)


def show(found: Sequence[Change], noise_floor: float) -> None:
    """Print the table of changes."""
    width = max(len(change.test) for change in found)
    peer_width = max(len(change.peer) for change in found)
    print(f"{'test':<{width}}  {'peer':<{peer_width}}  baseline     new   change   limit")
    for change in found:
        new = "      -        -" if change.new is None else f"{change.new.ratio:7.2f} {-change.fall:+8.1%}"
        line = f"{change.test:<{width}}  {change.peer:<{peer_width}}  {change.old.ratio:8.2f} {new}"
        print(f"{line}  {-change.limit:+6.0%}  {change.state(noise_floor)}")


def compare(baseline: Run, new: Run, limit: float, noise_floor: float, *, allows_missing: bool) -> int:
    """Print the changes and return the exit code."""
    check_comparable(baseline, new)
    found = list(changes(baseline, new, limit))
    show(found, noise_floor)
    states = [change.state(noise_floor) for change in found]
    regressions, missing = states.count("REGRESSION"), states.count("missing")
    absent, added = (
        list(dict.fromkeys(x for x in one.tests if x not in other.tests))
        for one, other in ((baseline, new), (new, baseline))
    )
    for names, where in ((absent, "missing in the new run"), (added, "not in the baseline")):
        if names:
            print(f"{where}: {', '.join(names)}")
    print(f"{len(found)} ratios: {regressions} regressions, {missing} missing")
    return 1 if regressions or ((missing or absent) and not allows_missing) else 0


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must lie in [0, 1), got {text}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("baseline", type=Path, help="benchmarks/baseline.json")
    parser.add_argument("new", type=Path, help="the JSON of a run of `make bench`")
    parser.add_argument("--limit", type=_share, default=LIMIT, help="largest fall of a ratio (default 0.1)")
    parser.add_argument(
        "--noise-floor", type=_share, default=NOISE_FLOOR, help="falls up to this are noise (default 0.03)"
    )
    parser.add_argument("--allow-missing", action="store_true", help="a missing test is no failure")
    parser.add_argument("--write-baseline", action="store_true", help="write NEW's ratios into BASELINE")
    chosen = parser.parse_args(arguments)
    try:
        new = read_run(chosen.new)
        if chosen.write_baseline:
            write_baseline(chosen.baseline, new)
            return 0
        allows_missing = chosen.allow_missing
        baseline = read_run(chosen.baseline)
        return compare(baseline, new, chosen.limit, chosen.noise_floor, allows_missing=allows_missing)
    except UnusableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
