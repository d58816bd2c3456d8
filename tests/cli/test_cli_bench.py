# SPDX-License-Identifier: Apache-2.0
"""`ophclip bench`: which cases it names and runs, and what it leaves when it is stopped."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest
import torch

import ophclip.bench
from ophclip import console
from ophclip.bench import Case, Contest, Result, Session, cases
from ophclip.cli.main import main


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    yield
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)
    console.set_quiet(False)


def bench(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["bench", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_list_names_the_cases_with_their_targets_and_runs_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(cases())
    assert "loss fp32 B=4096 D=512: lean compiled >= 1.2, two matmuls >= 2" in lines


def test_list_follows_the_other_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--list", "--large", "--only", "B=65536", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"cases": {"loss fp32 B=65536 D=512 alone": []}}


def test_one_case_is_measured_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--smoke", "--threads", "1", "--only", "top-k int8") == 0
    out, err = capsys.readouterr()
    assert "top-k int8 Q=8 N=2k D=32 k=10" in out
    assert "1 threads" in out
    assert "bench: 1 of 1 cases" in err


@pytest.mark.parametrize(
    ("options", "says", "remedy"),
    [
        (["--only", "nothing like it"], "no case has 'nothing like it' in its name", "--list names them"),
        (["--smoke", "--large"], "exclude one another", "pass one of them"),
        (["--threads", "-1"], "-1 is not in the range", "see ophclip bench --help"),
        (["--device", "tpu"], "no device 'tpu'", "--device auto"),
    ],
)
def test_wrong_options_exit_2_and_measure_nothing(
    options: list[str], says: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(*options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert remedy in err.splitlines()[-1]


@pytest.fixture
def stopped_at_the_second_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes while the second case runs."""
    measured: list[str] = []

    def attempt(case: Case, session: Session) -> Result:
        if measured:
            raise KeyboardInterrupt
        measured.append(case.name)
        return Result(case.name, case.section, ours_s=0.25)

    monkeypatch.setattr(ophclip.bench, "attempt", attempt)


@pytest.mark.usefixtures("stopped_at_the_second_case")
def test_ctrl_c_prints_what_was_measured_and_exits_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--smoke") == 130
    out, err = capsys.readouterr()
    assert "loss fp32 B=64 D=32 250.00 0.00" in " ".join(out.split())
    assert "bf16" not in out
    assert "error: interrupted" in err


@pytest.mark.usefixtures("stopped_at_the_second_case")
def test_json_says_that_the_run_was_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--smoke", "--json") == 130
    found = json.loads(capsys.readouterr().out)
    assert found["is_whole"] is False
    assert [result["case"] for result in found["results"]] == ["loss fp32 B=64 D=32"]


def test_a_case_that_fails_is_listed_the_others_are_measured_and_the_exit_is_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(session: Session) -> Contest:
        raise ValueError("OPHCLIP_CUDA_PATH must be portable, got 'hopper'")

    sound = next(case for case in cases("cpu", "smoke") if "int8" in case.name)
    monkeypatch.setattr(ophclip.bench, "cases", lambda *_: [Case("bad", "section", broken), sound])
    assert bench("--smoke", "--threads", "1") == 3
    out = capsys.readouterr().out
    assert "FAILED: bad: ValueError: OPHCLIP_CUDA_PATH must be portable, got 'hopper'" in out
    assert " ".join([sound.name, "0."]) in " ".join(out.split())
