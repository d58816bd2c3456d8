# SPDX-License-Identifier: Apache-2.0
"""What several processes are made to do under torchrun, for the tests; one launch does all of it.

`torchrun --nproc-per-node W ranks.py PLAN`, PLAN being a JSON file with the keys corpus, features and out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from run_configs import small
from safetensors.torch import save_file
from torch import Tensor

from ophclip.errors import OphclipError
from ophclip.pretrain import PretrainConfig, pretrain
from ophclip.pretrain.assembly import assemble
from ophclip.pretrain.clock import PhaseClock
from ophclip.pretrain.data import load_data
from ophclip.pretrain.distributed import join_world
from ophclip.pretrain.world import World

STEPS = 9  # three rounds, of which the last retrieves
MICRO_BATCH = 1  # as many rows at a time on every number of ranks, so that dropout is the same
BATCH = 12


def rank_config(corpus: Path, cache: Path) -> PretrainConfig:
    return small(
        corpus, cache, micro_batch=MICRO_BATCH, batch_videos=BATCH, batch_clips=BATCH, learn_temperature=True,
        encode_retrieved=3, second_view=True,
    )  # fmt: skip


def record(config: PretrainConfig, world: World, out: Path) -> None:
    """Train some steps; write losses, the gradients of each step, the last weights, and each rank's bank."""
    parts = assemble(config, load_data(config), world, PhaseClock("cpu"))
    losses: list[dict[str, Any]] = []
    gradients: dict[str, Tensor] = {}
    for step in range(STEPS):
        result = parts.stepper.run(parts.reader.read(step))
        losses.append({"loss": result.loss, "grad_norm": result.grad_norm, "terms": result.terms})
        named = parts.state.model.named_parameters()
        gradients |= {f"{step}.{name}": p.grad.clone() for name, p in named if p.grad is not None}
    bank = parts.state.bank
    save_file({"keys": bank.keys, "values": bank.values, "steps": bank.steps}, out / f"bank-{world.rank}.st")
    save_file(dict(parts.state.model.state_dict()), out / f"weights-{world.rank}.st")
    if world.is_first:
        save_file(gradients, out / "gradients.st")
        (out / "losses.json").write_text(json.dumps(losses))


def gather_unequal_shares(world: World, out: Path) -> None:
    """Gather 5 rows, and weigh each in a sum that differs by rank; write the gradient of own rows."""
    every = torch.arange(10.0).view(5, 2)
    own = every[world.share(5)].clone().requires_grad_()
    gathered = world.gather(own, 5)
    (gathered * (1.0 + world.rank)).sum().backward()
    assert own.grad is not None
    (out / f"gather-{world.rank}.json").write_text(
        json.dumps({"rows": gathered.tolist(), "grad": own.grad.tolist()})
    )


def fail_on_the_last_rank(out: Path) -> None:
    """Let the last rank fail while the others wait for it; write what each of them raises."""
    try:
        with join_world("cpu") as world:
            if world.rank == world.size - 1:
                raise OphclipError("the disk is full", remedy="free some space")
            world.wait()
    except OphclipError as error:
        (out / f"failure-{world.rank}.txt").write_text(str(error))


def main() -> None:
    """Do everything in turn."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    out = Path(plan["out"])
    torch.set_num_threads(1)
    config = rank_config(Path(plan["corpus"]), Path(plan["features"]))
    with join_world("cpu") as world:
        record(config, world, out)
        gather_unequal_shares(world, out)
    if "run" in plan:
        pretrain(PretrainConfig(**_paths(plan["run"])), out / "run")
    fail_on_the_last_rank(out)


def _paths(values: dict[str, Any]) -> dict[str, Any]:
    return values | {name: Path(values[name]) for name in ("corpus", "cache")}


if __name__ == "__main__":
    main()
