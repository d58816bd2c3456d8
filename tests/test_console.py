# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ophclip import console


@pytest.fixture(autouse=True)
def _loud_again() -> Iterator[None]:
    yield
    console.set_quiet(False)


def test_talk_goes_to_stderr_and_results_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("working")
    console.emit_json({"frames": 3})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"frames": 3}
    assert err == "working\n"


def test_quiet_silences_talk_and_progress_but_not_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_quiet(True)
    console.say("working")
    with console.progress("decode", 2, "frames") as progress:
        progress.advance(2)
    console.warn("slow path")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "warning: slow path\n")


def test_progress_in_a_log_ends_with_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("decode", 2, "frames") as progress:
        progress.advance()
        progress.advance()
        progress.note("1 failed")
    assert "decode: 2 of 2 frames" in capsys.readouterr().err


def test_progress_does_not_swallow_an_error() -> None:
    with pytest.raises(ValueError, match="inner"), console.progress("decode", 2, "frames"):
        raise ValueError("inner")


def test_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        console.emit_json({"value": float("nan")})


def test_table_shows_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    console.emit_table("scores", ["metric", "value"], [["accuracy", "0.50"], ["f1", "n/a"]])
    out = capsys.readouterr().out
    assert all(cell in out for cell in ("scores", "accuracy", "0.50", "f1", "n/a"))
