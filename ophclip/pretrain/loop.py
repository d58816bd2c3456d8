# SPDX-License-Identifier: Apache-2.0
"""Pretraining from a configuration to a run folder."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.data import load_data
from ophclip.pretrain.distributed import join_world
from ophclip.pretrain.run_folder import check_folder, claimed
from ophclip.pretrain.trackers import check_installed
from ophclip.pretrain.trainer import RunSummary, Trainer


def pretrain(config: PretrainConfig, out: Path, *, resume: bool = False, profile: bool = False) -> RunSummary:
    """Train a dual encoder and write a run folder.

    The folder holds config.toml, model.toml, model.safetensors, metrics.jsonl (a line a step), bank/ and
    checkpoints/. With `resume` the run goes on from its newest undamaged checkpoint and, on a CPU, ends with
    the weights that it would have had uninterrupted. Under torchrun all processes train together.

    Args:
        config: all choices.
        out: the run folder; every process must see it.
        resume: go on where the run in `out` was interrupted; from the beginning where it has no checkpoint.
        profile: write a trace of some steps into `out/profile`.

    Raises:
        UsageError: `out` holds another run, or one that another process trains; or corpus, cache and
            configuration do not fit together.
        OphclipError: the loss or its gradient is not finite, and the batch is named; or another process
            failed, and its reason is given.
        KeyboardInterrupt: the process was asked to stop; a checkpoint was saved.
    """
    config = config.resolved()
    check_installed(config.log)
    with join_world(config.device) as world:
        if world.is_first:
            check_folder(out, config, resume=resume)
        trainer = Trainer(config, load_data(config), out, world)
        # Claimed once all parts of the run are there: what cannot begin leaves no folder.
        with claimed(out, config, resume=resume) if world.is_first else nullcontext():
            world.wait()
            return trainer.run(profile=profile)
