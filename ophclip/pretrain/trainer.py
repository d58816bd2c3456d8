# SPDX-License-Identifier: Apache-2.0
"""The loop over steps: batches in, records out, checkpoints between."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ophclip import console
from ophclip.errors import UsageError
from ophclip.files import replace_file
from ophclip.models import load_lineage_weights, save_model
from ophclip.pretrain.assembly import Parts, assemble, sampler_of
from ophclip.pretrain.batches import Batch
from ophclip.pretrain.checkpoint import load_checkpoint, newest_sound, prune_checkpoints, save_checkpoint
from ophclip.pretrain.clock import PhaseClock
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.data import TrainingData, load_data
from ophclip.pretrain.interruption import interruption
from ophclip.pretrain.monitor import HeldOut, mean_loss, training_loss
from ophclip.pretrain.prefetch import prefetched
from ophclip.pretrain.profiling import profiling
from ophclip.pretrain.run_folder import CHECKPOINTS, cut_metrics, read_metrics
from ophclip.pretrain.trackers import Tracker, trackers
from ophclip.pretrain.world import World


@dataclass(frozen=True)
class RunSummary:
    """What a run did; losses are means over the last tenth of its steps, None where there were none."""

    out: str
    steps: int
    resumed_from: int
    num_clips: int
    num_narrated: int
    num_silent: int
    num_processes: int
    clip_loss: float | None
    video_loss: float | None
    best_step: int | None
    seconds: float


class Trainer:
    """A run on one rank; every rank has one, and the first one writes."""

    def __init__(self, config: PretrainConfig, data: TrainingData, out: Path, world: World) -> None:
        self._config, self._data, self._out, self._world = config, data, out, world
        self._clock = PhaseClock(world.device)
        self._parts: Parts = assemble(config, data, world, self._clock)
        self._held_out = self._make_held_out()
        self._best: dict[str, Any] | None = None

    def run(self, *, profile: bool = False) -> RunSummary:
        """Train from the newest checkpoint, if there is one, to the last step.

        Raises:
            KeyboardInterrupt: the process was asked to stop; a checkpoint was saved.
        """
        start, config = time.perf_counter(), self._config
        first = self._resume()
        if self._world.is_first:
            cut_metrics(self._out, first)
        with (
            interruption() as asked,
            self._writing() as written,
            profiling(self._out, self._world, enabled=profile) as profiler,
            console.progress("pretrain", config.steps, "steps") as progress,
            closing(prefetched(self._parts.reader.read, range(first, config.steps))) as batches,
        ):
            progress.advance(first)
            self._clock.start()
            for batch in batches:
                record, stops = self._step(batch, stop=asked.is_requested)
                for tracker in written:
                    tracker.write(record)
                progress.note(f"{record['level']} loss {record['loss']:.3f}")
                progress.advance()
                profiler.step()
                done = batch.step + 1
                if done % config.checkpoint_every_steps == 0:
                    self._judge(done)
                    self._save(done)
                if stops:
                    self._save(done)
                    self._world.wait()  # torchrun ends all processes when the first one is gone
                    console.say(f"stopped after step {batch.step}; resume with --resume")
                    raise KeyboardInterrupt
                self._clock.start()  # saving is no time that the next step waits for its data
        self._finish()
        return self._summary(first, time.perf_counter() - start)

    def _step(self, batch: Batch, *, stop: bool) -> tuple[dict[str, Any], bool]:
        began, waited = time.perf_counter(), self._clock.seconds["data"]
        self._clock.mark("data")
        result = self._parts.stepper.run(batch, stop=stop)
        waited = self._clock.seconds["data"] - waited
        record = {
            "step": batch.step,
            "level": batch.level,
            "loss": result.loss,
            "grad_norm": result.grad_norm,
            "lr": result.lr,
            "scale": result.scale,
            "terms": result.terms,
            "seconds": round(time.perf_counter() - began + waited, 4),
            "data_seconds": round(waited, 4),
        }
        return record, result.stops

    def _resume(self) -> int:
        """Restore the newest sound checkpoint, the same on every rank; return the steps that were done."""
        folder = self._out / CHECKPOINTS
        found = newest_sound(folder) if self._world.is_first else None
        step = torch.tensor([found[1]["step"] if found else 0], device=self._world.device)
        self._world.sum_([step])  # the others take what the first one found
        if not int(step):
            if self._config.init_weights is not None:
                self._import_weights(self._config.init_weights)
            return 0
        checkpoint = folder / f"step-{int(step):08d}"
        facts = found[1] if found else {}
        if found:
            _check_encoder(facts, self._data, checkpoint)
        load_checkpoint(checkpoint, self._parts.state)
        self._best = facts.get("best")
        console.say(f"resuming from step {int(step)}")
        return min(int(step), self._config.steps)

    def _import_weights(self, path: Path) -> None:
        report = load_lineage_weights(self._parts.state.model, path)
        if self._world.is_first:
            listed = json.dumps(asdict(report), indent=2)
            replace_file(self._out / "init_weights.json", listed.encode())
            for line in report.lines():
                console.say(line)

    def _judge(self, done: int) -> None:
        """Find out whether what is about to be saved is the best so far."""
        if self._held_out is not None:
            value: float | None = self._held_out.loss()
        else:
            first = done - self._config.checkpoint_every_steps
            value = training_loss(self._out, first, done) if self._world.is_first else None
        if value is not None and (self._best is None or value < self._best["loss"]):
            self._best = {"step": done, "loss": value, "of": self._config.held_out or "training"}

    def _save(self, done: int) -> None:
        if self._world.is_first:
            folder = self._out / CHECKPOINTS
            facts = {"best": self._best, "cache": _encoder_of(self._data)}
            save_checkpoint(folder, done, self._parts.state, facts)
            best = self._best["step"] if self._best else None
            prune_checkpoints(folder, self._config.keep_checkpoints, best)

    def _finish(self) -> None:
        self._parts.memory.complete(self._config.steps)
        if self._world.is_first:
            self._parts.state.bank.save(self._out / "bank")
            save_model(self._parts.state.model, self._out)
        self._world.wait()

    def _make_held_out(self) -> HeldOut | None:
        if not self._config.held_out:
            return None
        if self._config.held_out == "train":
            raise UsageError(
                "held_out must not be the split that is trained on, got 'train'", remedy="name another"
            )
        data = load_data(self._config, split=self._config.held_out)
        sampler = sampler_of(self._config, data)
        return HeldOut(self._config, data, sampler, self._parts.state, self._world)

    @contextmanager
    def _writing(self) -> Iterator[Sequence[Tracker]]:
        if not self._world.is_first:
            yield []
            return
        with trackers(self._config, self._out) as opened:
            yield opened

    def _summary(self, resumed_from: int, seconds: float) -> RunSummary:
        records = read_metrics(self._out)
        tail = records[-max(1, len(records) // 10) :]
        return RunSummary(
            out=str(self._out),
            steps=self._config.steps,
            resumed_from=resumed_from,
            num_clips=len(self._data.clips),
            num_narrated=len(self._data.narrated),
            num_silent=len(self._data.silent),
            num_processes=self._world.size,
            clip_loss=mean_loss(tail, "clip"),
            video_loss=mean_loss(tail, "video"),
            best_step=self._best["step"] if self._best else None,
            seconds=round(seconds, 2),
        )


def _encoder_of(data: TrainingData) -> dict[str, Any]:
    provenance = data.cache.provenance
    return {"encoder": provenance["encoder"], "key": provenance["key"]}


def _check_encoder(facts: Mapping[str, Any], data: TrainingData, checkpoint: Path) -> None:
    if facts["cache"] != _encoder_of(data):
        raise UsageError(
            f"{data.cache.path} must hold rows of {facts['cache']}, which {checkpoint} was trained on, "
            f"got {_encoder_of(data)}",
            remedy="name the cache that the run was begun with, or begin anew",
        )
