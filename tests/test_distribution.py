# SPDX-License-Identifier: Apache-2.0
"""What is shipped: the source distribution builds the wheel, and the wheel holds all that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}, timeout=280
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def build(what: str, source: Path, out: Path) -> Path:
    """Build with the tools of this environment; `torch` is hidden, as in an isolated build."""
    hidden = out / "hidden"
    hidden.mkdir(parents=True)
    (hidden / "torch.py").write_text("raise ImportError('the build must not need torch')\n")
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        f"--{what}",
        "--outdir",
        str(out),
        str(source),
    ]
    run(*command, cwd=out, PYTHONPATH=str(hidden), OPHCLIP_CUDA="OFF")
    return next(path for path in out.iterdir() if path.suffix in (".gz", ".whl"))


@pytest.fixture(scope="module")
def tracked_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that git tracks: what lies about in a working tree must not be needed."""
    folder = tmp_path_factory.mktemp("sources")
    names = run("git", "ls-files", "-z", cwd=ROOT).split("\0")[:-1]
    for name in names:
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return folder


@pytest.fixture(scope="module")
def sdist(tracked_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = build("sdist", tracked_sources, tmp_path_factory.mktemp("sdist"))
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", sdist, tmp_path_factory.mktemp("wheel"))


def test_the_source_distribution_holds_every_source(tracked_sources: Path, sdist: Path) -> None:
    for part in ("csrc", "ophclip"):
        expected = {str(path.relative_to(tracked_sources)) for path in (tracked_sources / part).rglob("*.*")}
        found = {str(path.relative_to(sdist)) for path in (sdist / part).rglob("*.*")}
        assert expected - found == set()


def test_the_wheel_holds_the_library_and_every_data_file(tracked_sources: Path, wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert any(name.startswith("ophclip/_native.") for name in names)
    package = tracked_sources / "ophclip"
    expected = {str(path.relative_to(tracked_sources)) for path in package.rglob("*") if path.is_file()}
    assert expected - names == set()
    assert not any(name.startswith(("tests/", "benchmarks/", "csrc/")) for name in names)


def test_an_installed_wheel_finds_its_kernels(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    command = [sys.executable, "-m", "ophclip.cli.main", "doctor", "--json"]
    found = json.loads(run(*command, cwd=tmp_path, PYTHONPATH=str(tmp_path)))
    assert found["native"] is True
    assert found["isa"] in ("avx512", "avx2", "portable")
    assert "_cuda" in found["native_cuda_reason"]  # not built here, and said so
