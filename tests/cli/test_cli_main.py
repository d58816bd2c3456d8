# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ophclip.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("demo", "corpus", "cache", "pretrain", "evaluate", "search", "bench", "doctor"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evalute"], "did you mean 'evaluate'?"),
        (["--nope"], "No such option"),
        (["cache", "build"], "Missing"),
    ],
)
def test_wrong_usage_is_one_line_and_a_remedy_with_exit_2(arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2
    assert says in lines[0]
    assert "--help" in lines[1]


def test_an_error_ends_with_its_remedy_and_no_traceback(tmp_path: Path) -> None:
    done = run("pretrain", str(tmp_path / "none.toml"), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "no configuration file" in done.stderr
    assert done.stderr.strip().splitlines()[-1] == "check the path"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = run("--debug", "pretrain", str(tmp_path / "none.toml"), "--out", str(tmp_path / "run"))
    assert done.returncode != 0
    assert "Traceback" in done.stderr
