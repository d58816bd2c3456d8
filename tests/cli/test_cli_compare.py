# SPDX-License-Identifier: Apache-2.0
"""`ophclip compare` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ophclip.cli.main import main
from ophclip.evaluate.predictions import Predictions, VideoPrediction
from ophclip.evaluate.results import write_results

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, err

    return run


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two results on the same four videos."""
    found = []
    for seed, run in enumerate(("first", "second")):
        rng = np.random.default_rng(seed)
        nothing = np.zeros((9, 0), dtype=np.float32)
        videos = [
            VideoPrediction(
                f"v{n}",
                np.arange(9.0),
                np.arange(9) % 2,
                None,
                rng.random((9, 2), dtype=np.float32),
                nothing,
                nothing,
            )
            for n in range(4)
        ]
        facts = {
            "protocol": "zero-shot/frame/1",
            "dataset": "[cat]",
            "data_sha256": "d" * 64,
            "weights": run,
            "prompts": {"file": "own.toml", "version": 1, "sha256": "p" * 64, "variant": "all"},
            "fps": 1.0,
            "unit": "second",
            "notes": [],
        }
        found.append(tmp_path / run / "evaluate-cat")
        write_results(found[-1], Predictions(facts, ["rhexis", "phaco"], [], videos))
    return found


def test_a_comparison_is_tables_and_notes(folders: list[Path], call: Call) -> None:
    code, out, err = call("compare", *folders)
    assert (code, err) == (0, "")
    for words in (
        "first",
        "second",
        "[cat]",
        "second - first",
        "no small p-value can be reached",
        "Macro F1",
    ):
        assert words in out


def test_json_is_one_object_and_html_a_file(folders: list[Path], call: Call, tmp_path: Path) -> None:
    page = tmp_path / "comparison.html"
    code, out, _ = call("compare", f"ours={folders[1]}", folders[0], "--json", "--html", page, "--seed", 3)
    assert code == 0
    found = json.loads(out)
    assert found["runs"] == ["ours", "first"]
    assert found["html"] == str(page)
    assert len(found["pairs"]) == 2
    assert page.read_text().startswith("<!doctype html>")


def test_errors_end_with_the_remedy_and_code_2(folders: list[Path], call: Call, tmp_path: Path) -> None:
    for arguments, remedy in (
        ([folders[0]], "pass two folders that ophclip evaluate wrote"),
        ([folders[0], tmp_path], "pass folders that ophclip evaluate wrote"),
    ):
        code, out, err = call("compare", *arguments)
        assert (code, out) == (2, "")
        assert err.splitlines()[-1] == remedy
