# SPDX-License-Identifier: Apache-2.0
"""`benchmarks/compare.py`: what is a regression, what is noise, and what cannot be compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "compare.py"
FACTS = {
    "date": "2026-01-01",
    "command": "make bench",
    "device": "cpu",
    "threads": 2,
    "isa": "avx512",
    "cpu": "a CPU",
    "gpu": None,
    "torch": "2.13",
    "python": "3.11",
}
Ratios = dict[str, dict[str, tuple[float, float]]]  # test: peer: ratio and spread


def compare(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def write_run(path: Path, ratios: Ratios, **facts: Any) -> Path:
    """What `make bench` writes, as far as it is read."""
    benchmarks = [
        {
            "extra_info": {
                "case": test,
                "ratios": {peer: {"value": pair[0], "spread": pair[1]} for peer, pair in peers.items()},
            }
        }
        for test, peers in ratios.items()
    ]
    path.write_text(json.dumps({"benchmarks": benchmarks, "ophclip": FACTS | facts}))
    return path


def verdict(tmp_path: Path, old: Ratios, new: Ratios, *options: object) -> subprocess.CompletedProcess[str]:
    baseline, run = tmp_path / "baseline.json", write_run(tmp_path / "new.json", new)
    written = compare("--write-baseline", baseline, write_run(tmp_path / "old.json", old))
    assert (written.returncode, written.stderr) == (0, "")
    return compare(baseline, run, *options)


def states(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.split()[-1] for line in done.stdout.splitlines() if "%" in line]


def test_a_fall_beyond_the_limit_is_a_regression(tmp_path: Path) -> None:
    old = {"loss B=1": {"lean": (2.0, 0.01), "other": (1.0, 0.01)}}
    done = verdict(tmp_path, old, {"loss B=1": {"lean": (1.7, 0.01), "other": (0.95, 0.01)}})
    assert done.returncode == 1
    assert states(done) == ["REGRESSION", "ok"]
    assert "-15.0%" in done.stdout
    assert done.stdout.splitlines()[-1] == "2 ratios: 1 regressions, 0 missing"


def test_the_fall_is_relative_to_the_baseline(tmp_path: Path) -> None:
    same_step = {"slow": {"lean": (0.5, 0.0)}, "fast": {"lean": (5.0, 0.0)}}
    done = verdict(tmp_path, same_step, {"slow": {"lean": (0.4, 0.0)}, "fast": {"lean": (4.9, 0.0)}})
    assert states(done) == ["REGRESSION", "ok"]  # 0.1 is a fifth of 0.5, and a fiftieth of 5


def test_a_rise_is_none_and_changes_nothing(tmp_path: Path) -> None:
    done = verdict(tmp_path, {"t": {"lean": (1.0, 0.0)}}, {"t": {"lean": (3.0, 0.0)}})
    assert (done.returncode, states(done)) == (0, ["better"])


@pytest.mark.parametrize(("old_spread", "new_spread"), [(0.4, 0.0), (0.0, 0.4)])
def test_a_fall_within_the_spread_of_either_run_is_noise(
    tmp_path: Path, old_spread: float, new_spread: float
) -> None:
    done = verdict(tmp_path, {"t": {"lean": (2.0, old_spread)}}, {"t": {"lean": (1.7, new_spread)}})
    assert (done.returncode, states(done)) == (0, ["noise"])


def test_a_fall_beyond_the_spread_is_none(tmp_path: Path) -> None:
    done = verdict(tmp_path, {"t": {"lean": (2.0, 0.2)}}, {"t": {"lean": (1.7, 0.2)}})
    assert (done.returncode, states(done)) == (1, ["REGRESSION"])


def test_limit_and_noise_floor_can_be_chosen(tmp_path: Path) -> None:
    pair = {"t": {"lean": (2.0, 0.0)}}, {"t": {"lean": (1.96, 0.0)}}
    assert states(verdict(tmp_path, *pair, "--limit", 0.01)) == ["noise"]
    assert states(verdict(tmp_path, *pair, "--limit", 0.01, "--noise-floor", 0.01)) == ["REGRESSION"]
    assert states(verdict(tmp_path, *pair, "--limit", 0.05)) == ["ok"]


def test_a_test_can_have_a_limit_of_its_own_that_a_new_baseline_keeps(tmp_path: Path) -> None:
    old, new = {"t": {"lean": (2.0, 0.0)}}, {"t": {"lean": (1.5, 0.0)}}
    assert verdict(tmp_path, old, new).returncode == 1
    baseline = tmp_path / "baseline.json"
    stored = json.loads(baseline.read_text())
    stored["tests"]["t"]["limit"] = 0.3
    baseline.write_text(json.dumps(stored))
    for _ in range(2):  # the second time from the baseline as written anew
        assert compare(baseline, tmp_path / "new.json").returncode == 0
        compare("--write-baseline", baseline, tmp_path / "old.json")


@pytest.mark.parametrize("new", [{"kept": {"lean": (1.0, 0.0)}}, {"kept": {"lean": (1.0, 0.0)}, "gone": {}}])
def test_a_missing_test_or_peer_is_named_and_fails_unless_allowed(tmp_path: Path, new: Ratios) -> None:
    old = {"kept": {"lean": (1.0, 0.0)}, "gone": {"lean": (1.0, 0.0)}}
    done = verdict(tmp_path, old, new)
    assert done.returncode == 1
    assert states(done)[-1] == "missing"
    assert "gone" in done.stdout
    assert verdict(tmp_path, old, new, "--allow-missing").returncode == 0


def test_a_missing_test_without_ratios_fails_too(tmp_path: Path) -> None:
    old = {"kept": {"lean": (1.0, 0.0)}, "memory": {}}
    done = verdict(tmp_path, old, {"kept": {"lean": (1.0, 0.0)}})
    assert done.returncode == 1
    assert "missing in the new run: memory" in done.stdout


def test_a_new_test_is_named_and_no_failure(tmp_path: Path) -> None:
    old = {"kept": {"lean": (1.0, 0.0)}}
    done = verdict(tmp_path, old, old | {"added": {"lean": (0.1, 0.0)}})
    assert done.returncode == 0
    assert "not in the baseline: added" in done.stdout


@pytest.mark.parametrize(("name", "value"), [("threads", 1), ("isa", "avx2"), ("device", "cuda")])
def test_runs_of_other_threads_or_instructions_are_refused(tmp_path: Path, name: str, value: object) -> None:
    ratios: Ratios = {"t": {"lean": (1.0, 0.0)}}
    old = write_run(tmp_path / "old.json", ratios)
    done = compare(old, write_run(tmp_path / "new.json", ratios, **{name: value}))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {name} must agree: the baseline has {FACTS[name]}, the new run {value}; run it alike\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "tests": {}}',
        '{"format": 1, "made": {}, "tests": {"t": {"ratios": {"lean": [0, 0]}}}}',
        '{"format": 1, "made": {}, "tests": {"t": {"ratios": {"lean": [1, "x"]}}}}',
        '{"format": 1, "made": {}, "tests": {"t": {"ratios": {"lean": 1}}}}',
        '{"format": 1, "made": {}, "tests": {"t": {"ratios": {}}}}',
        '{"benchmarks": [{"extra_info": {}}], "ophclip": {}}',
        '{"benchmarks": []}',
    ],
)
def test_a_malformed_file_exits_2_and_is_named(tmp_path: Path, text: str) -> None:
    sound = write_run(tmp_path / "sound.json", {"t": {"lean": (1.0, 0.0)}})
    broken = tmp_path / "broken.json"
    broken.write_text(text)
    for pair in ((broken, sound), (sound, broken)):
        done = compare(*pair)
        assert (done.returncode, done.stdout) == (2, "")
        assert str(broken) in done.stderr
        assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_exits_2(tmp_path: Path) -> None:
    done = compare(tmp_path / "none.json", tmp_path / "none.json")
    assert done.returncode == 2
    assert f"{tmp_path}/none.json: No such file" in done.stderr


@pytest.mark.parametrize("options", [[], ["a"], ["a", "b", "--limit", "2"], ["a", "b", "--limit", "x"]])
def test_wrong_usage_exits_2(options: list[str]) -> None:
    assert compare(*options).returncode == 2


def test_a_baseline_is_a_line_a_test_with_its_origin(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run.json", {"a": {"lean": (1.23456, 0.01)}, "b": {"lean": (2.0, 0.0)}})
    compare("--write-baseline", tmp_path / "baseline.json", run)
    text = (tmp_path / "baseline.json").read_text()
    assert '    "a": {"ratios": {"lean": [1.235, 0.01]}},\n' in text
    made = json.loads(text)["made"]
    assert {name: made[name] for name in ("threads", "isa", "torch", "date", "command")} == {
        name: FACTS[name] for name in ("threads", "isa", "torch", "date", "command")
    }
