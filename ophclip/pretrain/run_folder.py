# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: claimed once, its metrics cut back to where a resumed run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ophclip.cache.exclusive import alone_in
from ophclip.config import load_config, to_dict, to_toml
from ophclip.errors import UsageError
from ophclip.files import replace_file
from ophclip.pretrain.config import PretrainConfig

CONFIG, LOCK = "config.toml", ".lock"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"

# What may differ between the parts of a run: it changes where and how it is computed, and not what.
FREE_TO_CHANGE = {"device", "checkpoint_every_steps", "keep_checkpoints", "log"}


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
    changed = {key for key in ours.keys() | stored.keys() if ours.get(key) != stored.get(key)}
    changed -= FREE_TO_CHANGE
    if changed:
        raise UsageError(
            f"{out} was begun with other values of {', '.join(sorted(changed))}",
            remedy=f"resume with {path}, or pass another --out",
        )


@contextmanager
def claimed(out: Path, config: PretrainConfig, *, resume: bool) -> Iterator[None]:
    """Make the folder of a run, with its configuration, and keep others out of it until the block ends.

    Raises:
        UsageError: as `check_folder`, or another process trains into it.
    """
    with alone_in(out, LOCK, f"training into {out}"):
        check_folder(out, config, resume=resume)  # which may have become another run's meanwhile
        replace_file(out / CONFIG, to_toml(config).encode())
        yield


def cut_metrics(out: Path, step: int) -> None:
    """Drop what an interrupted run logged after its last checkpoint, a torn last line included."""
    path = out / METRICS
    if path.exists():
        replace_file(path, b"".join(path.read_bytes().splitlines(keepends=True)[:step]))


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """Return what was logged of each step."""
    path = out / METRICS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
