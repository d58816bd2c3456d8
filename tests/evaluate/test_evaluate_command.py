# SPDX-License-Identifier: Apache-2.0
"""The protocols and `--from` as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_predictions import made, predicted

from ophclip.cli.main import main
from ophclip.evaluate.predictions import save_predictions

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


def test_stored_predictions_are_scored_again(typed: Typed, tmp_path: Path) -> None:
    videos = [predicted("a", [0, 1, 2], [0, 1, 1]), predicted("b", [0, 0, 1], [0, 0, 1])]
    save_predictions(tmp_path / "predictions.npz", made(videos))
    code, out, _ = typed("--from", tmp_path, "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    assert found["phase"]["accuracy.pooled"] == pytest.approx(5 / 6, abs=1e-6)
    assert json.loads((tmp_path / "metrics.json").read_text()).items() <= found.items()
    code, out, _ = typed("--from", tmp_path / "predictions.npz", "--out", tmp_path / "again")
    assert code == 0
    assert "positive-vs-negative prompt softmax > 0.5" in out.replace("\n", " ")
    assert (tmp_path / "again/metrics.json").read_bytes() == (tmp_path / "metrics.json").read_bytes()
    assert (tmp_path / "again/report.html").read_bytes() == (tmp_path / "report.html").read_bytes()


def test_a_probe_prints_its_settings(
    typed: Typed, untrained_run: Path, simulated_corpus: Path, tmp_path: Path
) -> None:
    data = ("--dataset", "simulated", "--root", simulated_corpus)
    probing = ("--protocol", "linear-probe", "--percents", "50,100", "--seeds", "1", "--c-grid", "0.01")
    code, out, err = typed(untrained_run, *data, *probing, "--resamples", 0, "--out", tmp_path)
    assert code == 0, err
    assert "percent-50" in out
    assert "percent-100" in out
    assert (tmp_path / "percent-50/seed-0/predictions.npz").is_file()


def test_smoothed_windows(typed: Typed, untrained_run: Path, simulated_corpus: Path, tmp_path: Path) -> None:
    data = ("--dataset", "simulated", "--root", simulated_corpus, "--out", tmp_path)
    pooled = ("--pool-over", "window", "--window-s", 2, "--pool", "score", "--smooth-s", 3)
    code, out, err = typed(untrained_run, *data, *pooled, "--resamples", 0, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["protocol"] == "zero-shot/window-score/1"
    assert found["window_s"] == 2
    assert found["smoothed"]["seconds"] == 3
    assert "accuracy.pooled" in found["smoothed"]["phase"]


DATA = ("{run}", "--dataset", "simulated", "--root", "{corpus}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("{run}", "--from", "x"), "--from scores what is stored: it takes no RUN."),
        (("--from", "x", "--dataset", "simulated"), "it takes no --dataset."),
        (("--from", "{tmp}/none"), "is not there"),
        ((*DATA, "--shots", "1"), "--shots is not an option of --protocol zero-shot"),
        (
            (*DATA, "--protocol", "few-shot", "--variant", "name"),
            "--variant is not an option of --protocol few",
        ),
        ((*DATA, "--shots", "one"), "is not a list of numbers"),
        ((*DATA, "--pool-over", "clip"), "it has no clips"),
        ((*DATA, "--smooth-s", "-1"), "smooth_s must be 0 or more"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: tuple[str, ...],
    says: str,
    typed: Typed,
    untrained_run: Path,
    simulated_corpus: Path,
    tmp_path: Path,
) -> None:
    filled = [part.format(run=untrained_run, corpus=simulated_corpus, tmp=tmp_path) for part in arguments]
    found, out, err = typed(*filled, "--out", tmp_path / "out")
    assert (found, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
