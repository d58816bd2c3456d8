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


def test_progress_in_a_log_does_not_say_the_end_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LOG_INTERVAL_S", 0.0)
    with console.progress("decode", 2, "frames") as progress:
        progress.advance()
        progress.advance()
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_progress_in_a_log_says_that_nothing_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("decode", 0, "frames"):
        pass
    assert "decode: 0 of 0 frames" in capsys.readouterr().err


def test_brackets_in_a_title_are_shown_and_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console.emit_table("[bold]“x”[/]", ["title"], [["[red]Phaco[/red] [/]"]])
    out = capsys.readouterr().out
    assert "[bold]“x”[/]" in out
    assert "[red]Phaco[/red] [/]" in out


def test_escape_sequences_of_strangers_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;owned\x07 title\x9b2J"
    console.say(evil)
    console.warn(evil)
    console.report_error(evil, evil)
    console.emit(evil)
    console.emit_table(evil, ["title"], [[evil]])
    console.emit_json({"title": evil})
    shown = "".join(capsys.readouterr())
    assert "title" in shown
    assert not set("\x1b\x07\x9b") & set(shown)


def test_scripts_of_all_kinds_and_line_breaks_are_printable() -> None:
    assert console.printable("Änderung 手術 👁\n\tjamaica") == "Änderung 手術 👁\n\tjamaica"
