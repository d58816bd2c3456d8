# SPDX-License-Identifier: Apache-2.0
"""Layouts as a user writes them: the same bytes again, and never over something else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ophclip.cli.main import main
from ophclip.corpus.simulate.layouts import write_layout
from ophclip.errors import UsageError


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("layout") / "lensid"
    write_layout("lensid", root, videos=2, seconds=6, size=64, workers=1)
    return root


def test_the_same_settings_give_the_same_bytes_in_two_processes(written: Path, tmp_path: Path) -> None:
    write_layout("lensid", tmp_path / "again", videos=2, seconds=6, size=64, workers=2)
    assert digests(tmp_path / "again") == digests(written)
    assert not [name for name in digests(written) if name.endswith(".part")]


def test_the_same_call_finishes_what_was_interrupted(written: Path, tmp_path: Path) -> None:
    root = tmp_path / "lensid"
    write_layout("lensid", root, videos=2, seconds=6, size=64, workers=1)
    next(root.rglob("*.mp4")).unlink()
    counts = write_layout("lensid", root, videos=2, seconds=6, size=64, workers=1)
    assert digests(root) == digests(written)
    assert sum(counts.values()) == len(list(root.rglob("*.mp4")))


def test_another_simulation_or_other_files_are_not_written_over(written: Path, tmp_path: Path) -> None:
    before = digests(written)
    with pytest.raises(UsageError, match="got another layout"):
        write_layout("cadis", written, videos=2, seconds=6, size=64)
    with pytest.raises(UsageError, match="got another seconds"):
        write_layout("lensid", written, videos=2, seconds=7, size=64)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="must be empty or this very simulation"):
        write_layout("lensid", tmp_path, videos=2, seconds=6, size=64)
    assert digests(written) == before
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layout": "lensit"}, "no layout 'lensit'; did you mean 'lensid'"),
        ({"videos": 0}, "a layout must have 1 to 99 videos, got 0"),
        ({"seconds": 0.5}, "seconds must be 1 to 3600, got 0.5"),
        ({"size": 65}, "size must be a multiple of 8"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"workers": 0}, "workers 1 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, object], says: str, tmp_path: Path) -> None:
    settings = {"layout": "lensid", "out": tmp_path / "new"} | change
    with pytest.raises(UsageError, match=says):
        write_layout(**settings)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_the_command_writes_a_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cadis"
    arguments = "corpus simulate --layout cadis --test 2 --seconds 5 --size 64 --workers 1 --json --quiet"
    with pytest.raises(SystemExit) as caught:
        main([*arguments.split(), "--out", str(out)])
    assert caught.value.code == 0
    assert json.loads(capsys.readouterr().out) == {
        "out": str(out),
        "layout": "cadis",
        "counts": {"pictures": 6, "videos": 2},
    }
    assert (out / "Video02" / "Labels" / "Video2_frame000000.png").is_file()
