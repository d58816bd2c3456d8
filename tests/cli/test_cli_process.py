# SPDX-License-Identifier: Apache-2.0
"""The command line as a real process: signals, pipes and terminals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ophclip.cache import FrameRows, build_cache, find_inputs
from ophclip.video import Geometry

OPHCLIP = [sys.executable, "-m", "ophclip.cli.main"]
PROGRESS = (
    "from ophclip import console\n"
    "with console.progress('decode [x]', 4, 'frames') as progress:\n"
    "    progress.note('[bold]2 failed[/]')\n"
    "    progress.advance(4)\n"
)


@pytest.fixture(scope="module")
def endless(simulated_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of a training that would not end."""
    folder = tmp_path_factory.mktemp("endless")
    cache = folder / "frames.zarr"
    build_cache(find_inputs([simulated_corpus]), cache, encoder=FrameRows(Geometry(32, 32, "crop")), fps=2)
    path = folder / "endless.toml"
    path.write_text(
        f'corpus = "{simulated_corpus}"\ncache = "{cache}"\nsteps = 1000000\ndim = 32\n'
        "clip_frames = 1\nvideo_frames = 2\nbatch_clips = 2\nbatch_videos = 1\ndevice = 'cpu'\n"
    )
    return path


def wait_for_a_line(path: Path, process: subprocess.Popen[str]) -> None:
    while not (path.exists() and path.stat().st_size):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_with_exit_130_and_the_way_on(
    endless: Path, tmp_path: Path, number: signal.Signals
) -> None:
    command = [*OPHCLIP, "pretrain", str(endless), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_for_a_line(tmp_path / "run" / "metrics.jsonl", process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    message, remedy = err.splitlines()[-2:]
    assert message == "error: interrupted"
    assert "--resume" in remedy


@pytest.mark.parametrize("arguments", [["--help"], ["doctor", "--json"]])
def test_a_reader_that_has_gone_is_no_reason_to_complain(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [*OPHCLIP, *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=buffered)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def on_terminal(command: list[str], stream: str, **environment: str) -> str:
    """Run a command with one of its streams on a terminal and return what it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command,
        env={name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        | {"TERM": "xterm-256color", "COLUMNS": "100"}
        | environment,
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | {stream: theirs},
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:
        pass  # what Linux says when the other side of a terminal is closed
    os.close(ours)
    assert process.wait() == 0
    return shown.decode()


def test_progress_on_a_terminal_is_a_bar_and_shows_notes_as_they_are() -> None:
    shown = on_terminal([sys.executable, "-c", PROGRESS], "stderr", NO_COLOR="1")
    assert "decode [x]" in shown
    assert "[bold]2 failed[/]" in shown
    assert "4/4" in shown


def test_no_color_is_honoured() -> None:
    command = [sys.executable, "-c", PROGRESS]
    colours = "\x1b[3", "\x1b[9"
    assert any(code in on_terminal(command, "stderr") for code in colours)
    assert not any(code in on_terminal(command, "stderr", NO_COLOR="1") for code in colours)
