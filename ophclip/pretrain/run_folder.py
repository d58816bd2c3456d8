# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: claimed once, its metrics cut back to where a resumed run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ophclip.config import load_config, to_dict, to_toml
from ophclip.errors import UsageError
from ophclip.files import replace_file
from ophclip.pretrain.config import PretrainConfig

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"

# What may differ between the parts of a run: it changes where and how it is computed, and not what.
FREE_TO_CHANGE = {"device", "checkpoint_every_steps", "keep_checkpoints", "log"}


CONFIG = "config.toml"


def check_folder(out: Path, config: PretrainConfig, *, resume: bool) -> None:
    """Find that the folder of a run is free, or that it is this run's.

    Raises:
        UsageError: it holds a run and `resume` is not set, or one of another configuration.
    """
    path = out / CONFIG
    if not path.exists():
        return
    if not resume:
        raise UsageError(f"{out} already holds a run", remedy="pass --resume to go on, or another --out")
    ours, stored = to_dict(config), to_dict(load_config(PretrainConfig, path))
    changed = {
        key for key in ours.keys() | stored.keys() if ours.get(key) != stored.get(key)
    } - FREE_TO_CHANGE
    if changed:
        raise UsageError(
            f"{out} was begun with other values of {', '.join(sorted(changed))}",
            remedy=f"resume with {path}, or pass another --out",
        )


def claim(out: Path, config: PretrainConfig) -> None:
    """Make the folder of a run that `check_folder` let pass, with its configuration."""
    out.mkdir(parents=True, exist_ok=True)
    replace_file(out / CONFIG, to_toml(config).encode())


def cut_metrics(out: Path, step: int) -> None:
    """Drop what an interrupted run logged after its last checkpoint, a torn last line included."""
    path = out / METRICS
    if path.exists():
        replace_file(path, b"".join(path.read_bytes().splitlines(keepends=True)[:step]))


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """Return what was logged of each step."""
    path = out / METRICS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
