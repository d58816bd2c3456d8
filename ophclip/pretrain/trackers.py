# SPDX-License-Identifier: Apache-2.0
"""Where the numbers of a run go: metrics.jsonl always, TensorBoard or Weights & Biases on request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from ophclip.config import to_dict
from ophclip.errors import UsageError
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.run_folder import METRICS


class Tracker(Protocol):
    """Takes the record of a step, as it stands in metrics.jsonl."""

    def write(self, record: Mapping[str, Any]) -> None: ...


class _Lines:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, record: Mapping[str, Any]) -> None:
        for name, value in _scalars(record).items():
            self._writer.add_scalar(name, value, record["step"])


class _Wandb:
    def __init__(self, run: Any) -> None:
        self._run = run

    def write(self, record: Mapping[str, Any]) -> None:
        self._run.log(_scalars(record), step=record["step"])


@contextmanager
def trackers(config: PretrainConfig, out: Path) -> Iterator[list[Tracker]]:
    """Open what records of steps are written to, until the block ends.

    Raises:
        UsageError: the package of `log` is not installed.
    """
    with ExitStack() as stack:
        opened: list[Tracker] = []
        if config.log == "tensorboard":
            opened.append(_TensorBoard(stack.enter_context(_tensorboard_writer(out))))
        elif config.log == "wandb":
            opened.append(_Wandb(stack.enter_context(_wandb_run(config, out))))
        lines = stack.enter_context((out / METRICS).open("a"))
        yield [_Lines(lines), *opened]


def check_installed(log: str) -> None:
    """Say before a run begins that it cannot be tracked.

    Raises:
        UsageError: the package of `log` is not installed.
    """
    try:
        if log == "tensorboard":
            import torch.utils.tensorboard  # noqa: F401
        elif log == "wandb":
            import wandb  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"log = {log!r} needs a package that is not installed ({error.name or log})",
            remedy=f"pip install 'ophclip[{log}]', or set log=none: metrics.jsonl is always written",
        ) from error


def _scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Name the numbers of a record by level: clip/loss, video/terms/title_to_silent_video, and so on."""
    level = record["level"]
    named = {f"{level}/{name}": value for name, value in record.items() if isinstance(value, float)}
    return named | {f"{level}/terms/{name}": value for name, value in record["terms"].items()}


@contextmanager
def _tensorboard_writer(out: Path) -> Iterator[Any]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(out / "tensorboard"))
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def _wandb_run(config: PretrainConfig, out: Path) -> Iterator[Any]:
    import wandb

    run = wandb.init(project="ophclip", dir=str(out), config=to_dict(config), resume="allow", id=_run_id(out))
    try:
        yield run
    finally:
        run.finish()


def _run_id(out: Path) -> str:
    """Return the id of the run, kept with it, so that a resumed run goes on in the same place."""
    import uuid

    path = out / "wandb-id.txt"
    if not path.exists():
        path.write_text(uuid.uuid4().hex)
    return path.read_text().strip()
