# SPDX-License-Identifier: Apache-2.0
"""Ends `gpu_check.sh`: prints the stages and the one table of all measured paths, and writes the record."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from ophclip.bench import Result, render


def read_stages(path: Path) -> list[dict[str, Any]]:
    rows = (line.split("\t") for line in path.read_text().splitlines())
    return [{"name": name, "seconds": int(seconds), "outcome": outcome} for name, seconds, outcome in rows]


def read_paths(paths: list[Path]) -> dict[str, dict[str, Any]]:
    """What `ophclip bench --json` printed for each path of the kernels; one that failed left nothing."""
    found = {}
    for path in paths:
        try:
            found[path.stem] = json.loads(path.read_text())
        except ValueError:
            print(f"{path.stem}: no figures")
    return found


def read_cache(path: Path | None) -> dict[str, Any] | None:
    """What `gpu_cache.py` printed: its figures by name, each a few numbers."""
    try:
        return dict(json.loads(path.read_text())) if path else None
    except (OSError, ValueError):
        print("cache: no figures")
        return None


def show_cache(cache: dict[str, Any]) -> None:
    print(f"cache: {cache['encoder']} {cache['key'].get('precision', '')} on {cache['device']}")
    for name, figures in cache["figures"].items():
        numbers = {key: value for key, value in figures.items() if isinstance(value, int | float)}
        print(f"  {name:<20} " + ", ".join(f"{key} {value:,.0f}" for key, value in numbers.items()))
    if cache["left_out"]:
        print(f"  no time for: {', '.join(cache['left_out'])}")


def file_name(facts: dict[str, Any]) -> str:
    """Date and GPU, as `2026-05-04-nvidia-h200.json`."""
    name = str(facts["gpu"] or facts["device"])
    return f"{facts['date'][:10]}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.json"


def show(stages: list[dict[str, Any]], runs: dict[str, dict[str, Any]], seconds: int) -> None:
    for stage in stages:
        print(f"{stage['name']:<16} {stage['seconds']:>4} s  {stage['outcome']}")
    print(f"{'all':<16} {seconds:>4} s\n")
    results = []
    for path, run in runs.items():
        for result in map(Result.from_dict, run["results"]):
            result.section = f"{path}: {result.section}"
            results.append(result)
    if results:
        facts = next(iter(runs.values()))
        print("\n".join(render(results, {**facts, "switches": {}})))
    else:
        print("nothing was timed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="folder of the records")
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--cache", type=Path, help="what gpu_cache.py printed")
    parser.add_argument("runs", type=Path, nargs="*", help="PATH.json of each path of the kernels")
    chosen = parser.parse_args()
    stages, runs = read_stages(chosen.stages), read_paths([path for path in chosen.runs if path.exists()])
    cache = read_cache(chosen.cache)
    if runs:
        chosen.to.mkdir(parents=True, exist_ok=True)
        target = chosen.to / file_name(next(iter(runs.values())))
        record = {"command": "make gpu-check", "seconds": chosen.seconds, "stages": stages, "paths": runs}
        record["cache"] = cache
        target.write_text(json.dumps(record, indent=1) + "\n")
        print(f"\nwrote {target}")
    if cache:
        show_cache(cache)
    show(stages, runs, chosen.seconds)
    return 0 if runs else 1


if __name__ == "__main__":
    sys.exit(main())
