# SPDX-License-Identifier: Apache-2.0
"""`ophclip cache plan` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ophclip.video import write_video

FRAMES = ("--stream", "frames", "--size", "16", "--device", "cpu", "--measure", "0.5")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ophclip.cli.main", "cache", "plan", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def draw(seed: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of three seconds, and a file that is none."""
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate("ab"):
        write_video(folder / f"{name}.mp4", draw(seed), 4)
    (folder / "broken.mp4").write_text("no video")
    return folder


def test_plan_prints_totals_and_what_cannot_be_read_and_exits_3(folder: Path) -> None:
    done = run(folder, *FRAMES)
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert any(line.startswith(f"cannot be read: broken: {folder}/broken.mp4: ") for line in lines)
    assert "2 of 3 files are readable, 0.00 hours; 0 are stored already" in lines
    assert any(line.startswith("to store: 0.00 hours, 6 frames, 0.000 GB; free: ") for line in lines)
    assert any(line.startswith("time: about 0 s here, from 6.0 s of video") for line in lines)
    assert any("h264 32x32" in line for line in lines)
    assert "plan: 3 of 3 videos" in done.stderr
    assert not (folder / "c.zarr").exists()


def test_plan_gives_json_and_exits_0_where_all_can_be_read(folder: Path) -> None:
    done = run(folder / "a.mp4", folder / "b.mp4", "--json", "--quiet", "--fps", 2, *FRAMES)
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert (facts["videos"], facts["frames_to_do"], facts["fps"]) == (2, 12, 2.0)
    assert facts["fits"] is True
    assert facts["eta_s"] is not None
    assert (facts["unreadable"], facts["suspicious"]) == ([], [])


def test_plan_refuses_a_size_of_features(folder: Path) -> None:
    done = run(folder, "--size", 64, "--device", "cpu")
    assert done.returncode == 2
    assert "leave --size out" in done.stderr
