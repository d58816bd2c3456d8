# SPDX-License-Identifier: Apache-2.0
"""`make gpu-check` as far as a machine without a GPU can tell: its stages, its end, its record."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ophclip.bench import Session, cases, machine_facts, measure

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def stages(tmp_path: Path, body: str, deadline_s: int = 60) -> tuple[int, dict[str, str], str]:
    """Run stages in bash; return the last exit code, each stage's outcome, and what was printed."""
    listed = tmp_path / "stages.tsv"
    program = f"set -uo pipefail\nDEADLINE={deadline_s} STAGES={listed}\n. {BENCHMARKS}/stages.sh\n{body}"
    done = subprocess.run(["bash", "-c", f'{program}\nexit "$FAILED"'], capture_output=True, text=True)
    assert done.stderr == ""
    lines = [line.split("\t") for line in listed.read_text().splitlines()]
    return done.returncode, {name: outcome for name, _, outcome in lines}, done.stdout


def test_a_failed_stage_does_not_stop_the_next_but_fails_the_whole(tmp_path: Path) -> None:
    code, outcomes, out = stages(tmp_path, "stage bad 5 bash -c 'exit 3'\nstage good 5 echo done")
    assert code == 1
    assert outcomes == {"bad": "FAILED, exit 3", "good": "ok"}
    assert "done" in out


def test_stages_that_all_pass_exit_0(tmp_path: Path) -> None:
    assert stages(tmp_path, "stage one 5 true\nstage two 5 true")[0] == 0


def test_a_stage_out_of_its_time_is_ended(tmp_path: Path) -> None:
    code, outcomes, _ = stages(tmp_path, "stage endless 1 sleep 60\nstage next 5 true")
    assert code == 1
    assert outcomes == {"endless": "out of time", "next": "ok"}


def test_a_stage_that_cannot_run_here_is_no_failure(tmp_path: Path) -> None:
    code, outcomes, _ = stages(tmp_path, "stage tool 5 bash -c 'exit 77'")
    assert (code, outcomes) == (0, {"tool": "not available"})


def test_no_stage_starts_after_the_deadline(tmp_path: Path) -> None:
    code, outcomes, out = stages(tmp_path, "stage late 5 echo started", deadline_s=2)
    assert (code, outcomes) == (1, {"late": "no time left"})
    assert "started" not in out


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="a driver is here")
def test_a_machine_without_a_gpu_is_told_so(tmp_path: Path) -> None:
    done = subprocess.run([str(BENCHMARKS / "gpu_check.sh")], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    message, remedy = done.stderr.splitlines()
    assert message.startswith("error: no GPU was found")
    assert "NVIDIA GPU" in remedy


@pytest.mark.parametrize("name", ["gpu_check.sh", "stages.sh"])
def test_the_scripts_are_sound_bash(name: str) -> None:
    done = subprocess.run(["bash", "-n", str(BENCHMARKS / name)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def python(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    whole = [sys.executable, *map(str, command)]
    return subprocess.run(whole, cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_record_keeps_every_figure_and_the_table_comes_last(tmp_path: Path) -> None:
    session = Session(threads=torch.get_num_threads(), is_smoke=True)
    results = [measure(case, session).as_dict() for case in cases("cuda", "smoke") if "top-k" in case.name]
    facts = machine_facts(session, "ophclip bench") | {"results": results}
    (tmp_path / "portable.json").write_text(json.dumps(facts))
    (tmp_path / "hopper.json").write_text("")  # a path that this GPU does not have leaves nothing
    (tmp_path / "stages.tsv").write_text("build\t12\tok\nbench hopper\t1\tnot available\n")
    cache = {"device": "cuda", "encoder": "tiny", "key": {"precision": "bf16"}, "left_out": ["decode 8K x 7"]}
    cache["figures"] = {"build x 7": {"videos": 64, "video_s_per_s": 1234.5, "shares": {"decode": 0.9}}}
    (tmp_path / "cache.figures").write_text(json.dumps(cache))
    record = ["--stages", "stages.tsv", "--to", "records", "--seconds", 13, "--cache", "cache.figures"]
    done = python(BENCHMARKS / "gpu_record.py", *record, "portable.json", "hopper.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (written,) = (tmp_path / "records").iterdir()
    assert written.name == f"{facts['date'][:10]}-cpu.json"
    stored = json.loads(written.read_text())
    assert (stored["paths"], stored["cache"]) == ({"portable": facts}, cache)
    assert "cache: tiny bf16 on cuda" in done.stdout
    assert "build x 7            videos 64, video_s_per_s 1,23" in done.stdout
    assert "no time for: decode 8K x 7" in done.stdout
    assert [stage["outcome"] for stage in stored["stages"]] == ["ok", "not available"]
    assert "hopper: no figures" in done.stdout
    last = done.stdout.splitlines()[-4:]
    assert last[0].startswith("portable: top-k bf16")
    assert last[1].startswith("top-k bf16 Q=8")


def test_a_check_that_timed_nothing_fails_and_still_shows_its_stages(tmp_path: Path) -> None:
    (tmp_path / "stages.tsv").write_text("build\t12\tFAILED, exit 1\n")
    record = ["--stages", "stages.tsv", "--to", "records", "--seconds", 13]
    done = python(BENCHMARKS / "gpu_record.py", *record, cwd=tmp_path)
    assert done.returncode == 1
    assert "FAILED, exit 1" in done.stdout
    assert not (tmp_path / "records").exists()


def test_the_build_of_a_cache_is_timed_on_a_cpu_as_on_a_gpu(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--encoder", "tiny", "--smoke"]
    done = python(BENCHMARKS / "gpu_cache.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["left_out"] == []
    assert list(found["figures"]) == [
        "encode",
        "build x 1",
        "build x 2",
        "decode 64x48 x 1",
        "decode 64x48 x 2",
    ]
    assert found["figures"]["decode 64x48 x 2"]["codec"] == "vp9"
    rates = [rate for figures in found["figures"].values() for rate in figures.values()]
    assert all(rate > 0 for rate in rates if isinstance(rate, int | float))


def test_what_there_is_no_time_for_is_named(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--encoder", "tiny", "--smoke", "--seconds", "-1"]
    done = python(BENCHMARKS / "gpu_cache.py", *options, cwd=tmp_path)
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["figures"], found["left_out"][0]) == ({}, "encode")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_the_cache_cannot_be_timed_on_one(tmp_path: Path) -> None:
    assert python(BENCHMARKS / "gpu_cache.py", cwd=tmp_path).returncode == 77


def test_what_runs_under_the_sanitizer_runs(tmp_path: Path) -> None:
    done = python(BENCHMARKS / "gpu_small.py", "--device", "cpu", cwd=tmp_path)
    assert done.stdout == "every kernel ran\n"
