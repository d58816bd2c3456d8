# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from ophclip.config import load_config, to_toml
from ophclip.errors import UsageError


@dataclass(frozen=True)
class Settings:
    corpus: Path
    steps: int = 10
    lr: float = 1e-3
    mode: Literal["frames", "features"] = "frames"
    names: tuple[str, ...] = ()
    cache: Path | None = None
    frozen: bool = False


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_file_then_overrides_then_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, 'corpus = "here"\nsteps = 5\nlr = 1\n')
    settings = load_config(Settings, path, ["steps=7", "mode=features", 'names=["a", "b"]'])
    assert settings == Settings(Path("here"), steps=7, lr=1.0, mode="features", names=("a", "b"))


def test_written_configuration_reads_back_equal(tmp_path: Path) -> None:
    settings = Settings(Path("x"), lr=0.25, names=("é", 'quo"te'), frozen=True)
    assert load_config(Settings, write(tmp_path, to_toml(settings))) == settings


@pytest.mark.parametrize(
    ("text", "overrides", "says"),
    [
        ('corpus = "x"\nstep = 1', [], "unknown key 'step'; did you mean 'steps'"),
        ("steps = 1", [], "key 'corpus' is missing"),
        ('corpus = "x"\nsteps = "many"', [], "steps must be an integer, got 'many'"),
        ('corpus = "x"\nsteps = true', [], "steps must be an integer, got True"),
        ('corpus = "x"\nsteps = 1.5', [], "steps must be an integer, got 1.5"),
        ('corpus = "x"\nlr = "fast"', [], "lr must be a number"),
        ('corpus = "x"\nmode = "both"', [], "mode must be one of frames, features, got 'both'"),
        ('corpus = "x"\nnames = "a"', [], "names must be a list"),
        ('corpus = "x"\nnames = [1]', [], "names must be a string, got 1"),
        ("corpus = ", [], "is not valid TOML"),
        ('corpus = "x"', ["steps"], "--set must read key=value, got 'steps'"),
        ('corpus = "x"', ["=3"], "--set must read key=value"),
        ('corpus = "x"', ["nope=3"], "unknown key 'nope'"),
    ],
)
def test_bad_configuration_is_named(tmp_path: Path, text: str, overrides: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        load_config(Settings, write(tmp_path, text), overrides)


def test_missing_file_and_binary_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no configuration file"):
        load_config(Settings, tmp_path / "none.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot read"):
        load_config(Settings, binary)
