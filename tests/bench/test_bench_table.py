# SPDX-License-Identifier: Apache-2.0
"""The one table: figures where they belong, targets with the true figure, absences with their reason."""

from __future__ import annotations

from typing import Any

import pytest

from ophclip.bench import Ratio, Result, Session, Target, machine_facts, render


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return machine_facts(Session(threads=1), "ophclip bench") | {"ceilings": {"GB/s": 12.3}}


def result(case: str, section: str = "loss", **ratios: float) -> Result:
    measured = {name.replace("_", " "): Ratio(value, 0.0) for name, value in ratios.items()}
    return Result(case, section, ours_s=0.002, rounds=5, ratios=measured, floor_s=0.001)


def cells(lines: list[str], case: str) -> list[str]:
    (line,) = (line for line in lines if line.startswith(case))
    return line.split()


def test_a_line_holds_time_ratios_floor_and_share(facts: dict[str, Any]) -> None:
    lines = render([result("B=256", lean=1.25, two_matmuls=2.5)], facts)
    assert cells(lines, "B=256") == ["B=256", "2.00", "0.00", "1.25", "2.50", "1.00", "50"]


def test_a_missed_target_shows_the_true_figure(facts: dict[str, Any]) -> None:
    missed, met = result("B=256", lean=0.85), result("B=1024", lean=1.2)
    for one in (missed, met):
        one.judge([Target("lean", least=1.0), Target("compiled", least=1.0)])
    text = "\n".join(render([missed, met], facts))
    assert "lean >= 1: 0.85 MISSED; compiled >= 1: not measured" in text
    assert "lean >= 1: 1.20 met" in text
    assert text.splitlines()[-1] == "4 targets: 1 met, 1 missed, 2 not measured"


def test_a_peer_that_only_some_cases_have_leaves_a_dash(facts: dict[str, Any]) -> None:
    lines = render([result("B=1", lean=1.0), result("B=2", other=3.0)], facts)
    assert cells(lines, "B=1")[3:5] == ["1.00", "-"]
    assert cells(lines, "B=2")[3:5] == ["-", "3.00"]


def test_sections_have_their_own_peers(facts: dict[str, Any]) -> None:
    lines = render([result("B=1", lean=1.0), result("Q=1", "search", faiss=2.0)], facts)
    heads = [line for line in lines if "ours ms" in line]
    assert ["lean" in head for head in heads] == [True, False]
    assert ["faiss" in head for head in heads] == [False, True]


def test_a_reason_stands_once_with_all_its_cases(facts: dict[str, Any]) -> None:
    first, second = result("Q=1"), result("Q=2")
    first.skipped = second.skipped = {"faiss": "not installed"}
    assert "without faiss (Q=1, Q=2): not installed" in render([first, second], facts)


def test_figures_are_shown_once(facts: dict[str, Any]) -> None:
    one = Result("memory", "search", figures={"MiB of N": 1.5, "MiB more": 0.25})
    one.judge([Target("MiB more", most=2)])
    (line,) = (line for line in render([one], facts) if line.startswith("memory"))
    assert line.endswith("MiB more <= 2: 0.25 met; 1.50 MiB of N")


def test_the_title_names_the_machine_its_threads_and_its_ceilings(facts: dict[str, Any]) -> None:
    title = render([], facts)[0]
    for part in ("1 threads", facts["cpu"], facts["torch"], "12.3 GB/s"):
        assert part in title


def test_nothing_measured_is_a_table_too(facts: dict[str, Any]) -> None:
    assert render([], facts)[-1] == "0 targets: 0 met, 0 missed, 0 not measured"


def test_facts_name_what_a_figure_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPHCLIP_CUDA_PATH", "portable")
    found = machine_facts(Session(threads=1), "ophclip bench --only x")
    assert found["command"] == "ophclip bench --only x"
    assert (found["threads"], found["device"], found["gpu"]) == (1, "cpu", None)
    assert found["switches"]["OPHCLIP_CUDA_PATH"] == "portable"
    assert found["cpu"]
