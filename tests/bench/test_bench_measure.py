# SPDX-License-Identifier: Apache-2.0
"""How cases are run: in turn, with every peer that can run and agrees, against a floor and targets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from ophclip.bench import (
    Case,
    Contest,
    Ratio,
    Result,
    Session,
    Target,
    UnavailableError,
    machine_facts,
    measure,
    render,
)
from ophclip.bench import session as bench_session
from ophclip.bench.case import FASTEST, OF_FLOOR
from ophclip.bench.loss_cases import loss_case
from ophclip.bench.memory import in_fresh_process
from ophclip.errors import OphclipError
from ophclip.ops import NativeStatus

ANSWER = torch.tensor([1.0, 2.0])


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def answering(value: Tensor, calls: list[str] | None = None, name: str = "") -> Callable[[], Tensor]:
    def run() -> Tensor:
        if calls is not None:
            calls.append(name)
        return value

    return run


def failing(error: BaseException) -> Callable[[], Callable[[], Tensor]]:
    def build() -> Callable[[], Tensor]:
        raise error

    return build


def run(contest: Contest, *targets: Target, **options: object) -> Result:
    case = Case("case", "section", lambda session: contest, targets)
    return measure(case, Session(threads=1, **options))  # type: ignore[arg-type]


def test_ours_and_the_peers_run_in_turn() -> None:
    calls: list[str] = []
    names = ("p", "q")
    peers = {name: lambda name=name: answering(ANSWER, calls, name) for name in names}
    result = run(Contest(ours=answering(ANSWER, calls, "ours"), peers=peers, rounds=3))
    warm_up = ["ours", "p", "q"]
    assert calls == [*warm_up, *["p", "q", "ours"] * 3]
    assert result.rounds == 3


def test_a_ratio_is_the_median_of_the_rounds_and_above_one_where_ours_is_faster() -> None:
    ratio = Ratio.of_rounds([2.0, 30.0, 6.0], [1.0, 10.0, 1.0])
    assert ratio.value == 3.0  # of 2, 3 and 6: neither the ratio of the medians, 6, nor of the sums, 3.17
    assert ratio.spread == pytest.approx((4.5 - 2.5) / 2)


def test_one_round_has_no_spread() -> None:
    assert Ratio.of_rounds([2.0], [1.0]) == Ratio(2.0, 0.0)


@pytest.mark.parametrize("others", [[], ["quick"]])
def test_a_peer_far_behind_the_fastest_is_timed_in_the_first_rounds_only(others: list[str]) -> None:
    calls: list[str] = []

    def slow() -> Tensor:
        time.sleep(0.2)
        return answering(ANSWER, calls, "slow")()

    peers = {name: lambda: answering(ANSWER, calls, "quick") for name in others} | {"slow": lambda: slow}
    result = run(Contest(ours=answering(ANSWER), peers=peers), seconds=0.1)
    assert result.rounds > calls.count("slow") == 1 + 1 + 2  # to warm up, to plan, and two rounds
    assert set(result.ratios) == {*others, "slow"}


def test_a_peer_that_is_not_there_is_named_with_the_way_to_get_it() -> None:
    peers = {"faiss": failing(UnavailableError("not installed: pip install it"))}
    result = run(Contest(ours=answering(ANSWER), peers=peers))
    assert result.skipped == {"faiss": "not installed: pip install it"}
    assert result.ratios == {}


def test_a_peer_that_breaks_is_named_with_its_error_and_the_others_are_timed() -> None:
    peers = {"broken": failing(RuntimeError("no compiler\nlong story")), "sound": lambda: answering(ANSWER)}
    result = run(Contest(ours=answering(ANSWER), peers=peers))
    assert result.skipped == {"broken": "RuntimeError: no compiler"}
    assert set(result.ratios) == {"sound"}


@pytest.mark.parametrize("wrong", [ANSWER + 0.01, ANSWER[:1], torch.tensor([1.0, torch.nan])])
def test_a_peer_that_computes_something_else_is_not_timed(wrong: Tensor) -> None:
    peers = {"other": lambda: answering(wrong), "near": lambda: answering(ANSWER + 1e-5)}
    result = run(Contest(ours=answering(ANSWER), peers=peers, tolerance=1e-3))
    assert "disagrees" in result.skipped["other"]
    assert set(result.ratios) == {"near"}


def test_an_interrupt_in_a_peer_is_not_taken_for_a_missing_peer() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Contest(ours=answering(ANSWER), peers={"peer": failing(KeyboardInterrupt())}))


def test_a_case_that_cannot_run_here_is_named_and_leaves_its_targets_open() -> None:
    def prepare(session: Session) -> Contest:
        raise UnavailableError("needs 46 GiB")

    result = measure(Case("big", "section", prepare, (Target("lean", least=1),)), Session(threads=1))
    assert result.skipped == {"all of it": "needs 46 GiB"}
    assert [(verdict.figure, verdict.met) for verdict in result.verdicts] == [(None, None)]


def test_the_floor_is_the_longer_of_arithmetic_and_memory() -> None:
    rates = {"fp32": 10.0, "int8": 40.0}

    def floor(flops: float, bytes_read: float, rate: str = "fp32") -> float | None:
        contest = Contest(flops=flops, bytes_read=bytes_read, rate=rate)
        return contest.floor_s(rates.__getitem__, lambda: 2.0)

    assert floor(30, 2) == 3
    assert floor(30, 8) == 4
    assert floor(30, 0, "int8") == 0.75
    assert floor(0, 0) is None


@pytest.mark.parametrize(
    ("isa", "has_vnni", "times"), [("avx512", True, 4), ("avx512", False, 2), ("avx2", True, 2)]
)
def test_int8_is_four_times_fp32_where_bytes_are_multiplied_and_else_two(
    isa: str, has_vnni: bool, times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_session, "native_status", lambda: NativeStatus(True, isa, "", False, "", None))
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: has_vnni)
    session = Session(threads=1, is_smoke=True)
    monkeypatch.setattr(session, "_least_s", lambda _: 1.0)
    assert session.rate("int8") == times * session.rate("fp32")
    assert session.int8_over_fp32() == times
    assert len(session.notes) == (times == 2)


def test_ceilings_are_the_best_that_was_measured() -> None:
    session = Session(threads=1, is_smoke=True)
    measured = [session.rate("fp32") for _ in range(3)]
    assert session.rate("int8") > 0
    assert session.ceilings()["fp32 TFLOP/s"] * 1e12 >= max(measured)
    assert set(session.ceilings()) == {"fp32 TFLOP/s"}
    result = measure(Case("case", "s", lambda _: Contest(answering(ANSWER), bytes_read=1)), session)
    assert result.floor_s == pytest.approx(1 / (session.ceilings()["GB/s"] * 1e9))


def test_where_torch_emulates_bfloat16_its_floor_and_its_peers_are_those_of_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = Session(threads=1, is_smoke=True)
    monkeypatch.setattr(bench_session, "EMULATED", 0.0)
    assert session.emulates_bf16()
    assert session.rate("bf16") > 0
    assert set(session.ceilings()) == {"fp32 TFLOP/s"}
    (note,) = session.notes
    assert "peers of the bf16 cases cast to float32 and back" in note
    result = measure(loss_case("bf16", 32, 16, with_compiled=False), session)
    assert set(result.ratios) == {"lean", "two matmuls"}
    assert note in render([result], machine_facts(session, "test"))
    monkeypatch.setattr(bench_session, "EMULATED", 1e9)
    native = Session(threads=1, is_smoke=True)
    assert not native.emulates_bf16()
    assert native.rate("bf16") > 0
    assert set(native.ceilings()) == {"bf16 TFLOP/s"}
    assert native.notes == []


def test_targets_are_judged_by_the_figures_they_name() -> None:
    result = Result("case", "section", ours_s=2.0, floor_s=1.5)
    result.ratios = {"a": Ratio(1.4, 0.0), "b": Ratio(1.1, 0.0)}
    result.figures = {"MiB": 100.0}
    result.judge(
        [
            Target("a", least=1.4),
            Target(FASTEST, least=1.2),
            Target(OF_FLOOR, least=75),
            Target("MiB", most=99),
            Target("gone", least=1),
        ]
    )
    assert [(verdict.figure, verdict.met) for verdict in result.verdicts] == [
        (1.4, True),
        (1.1, False),
        (75.0, True),
        (100.0, False),
        (None, None),
    ]
    assert result.verdicts[1].target == "fastest peer >= 1.2"


def test_a_result_survives_json() -> None:
    result = Result("case", "section", 1.0, 0.1, 5, {"a": Ratio(2.0, 0.1)}, 0.5, {"MiB": 1.0}, {"b": "why"})
    result.judge([Target("a", least=1)])
    assert Result.from_dict(result.as_dict()) == result


def test_a_session_fixes_the_threads() -> None:
    assert Session(threads=1).threads == torch.get_num_threads() == 1
    assert Session().threads >= 1


def memory(who: str) -> dict[str, float]:
    task = {"what": "loss", "who": who, "dtype": "float32", "size": 2048, "dim": 32}
    return in_fresh_process({**task, "device": "cpu", "threads": 1})


def test_peak_memory_shows_the_logits_that_eager_keeps() -> None:
    mib_of_logits = 2048 * 2048 * 4 / 2**20
    found = memory("lean")
    assert found["raw MiB"] > mib_of_logits
    assert found["raw MiB"] - found["MiB beyond outputs"] == pytest.approx(2 * 2048 * 32 * 4 / 2**20)


def test_a_failed_measurement_of_memory_says_why() -> None:
    with pytest.raises(OphclipError, match="KeyError: 'nobody'"):
        memory("nobody")
