# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run: the smallest sizes, as `make bench` and `ophclip bench` run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ophclip.bench import cases

ROOT = Path(__file__).parents[2]


def run(*command: object, cwd: Path, **environment: str) -> str:
    # Where tests run side by side, a pytest inside of one must not take itself for one of theirs.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=ours | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_make_bench_prints_every_case_and_writes_what_compare_reads(tmp_path: Path) -> None:
    stored = tmp_path / "run.json"
    options = ["--benchmark-enable", "--benchmark-only", "--benchmark-quiet", f"--benchmark-json={stored}"]
    smoke = {"OPHCLIP_BENCH": "smoke", "OPHCLIP_BENCH_THREADS": "1"}
    out = run("-m", "pytest", "benchmarks", "-p", "no:cacheprovider", *options, cwd=ROOT, **smoke)
    names = [case.name for case in cases("cpu", "smoke")]
    assert [name for name in names if name not in out] == []
    assert "disagrees with ours" not in out
    written = json.loads(stored.read_text())
    ran = [one["extra_info"]["case"] for one in written["benchmarks"]]
    assert [name for name in ran if name in names] == names
    assert len(set(ran)) == len(ran) > len(names), "the benchmarks of the cache ran too"
    assert written["ophclip"]["threads"] == 1
    assert "0 regressions, 0 missing" in run(ROOT / "benchmarks" / "compare.py", stored, stored, cwd=tmp_path)


def test_ophclip_bench_needs_no_benchmarks_folder(tmp_path: Path) -> None:
    arguments = ["bench", "--smoke", "--only", "top-k int8", "--threads", 1, "--json", "--quiet"]
    found = json.loads(run("-m", "ophclip.cli.main", *arguments, cwd=tmp_path))
    names = [case.name for case in cases("cpu", "smoke") if "top-k int8" in case.name]
    assert [result["case"] for result in found["results"]] == names
    assert found["is_whole"] is True
    assert found["threads"] == 1
    assert found["ceilings"]["GB/s"] > 0
