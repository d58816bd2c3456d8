# SPDX-License-Identifier: Apache-2.0
"""The training loop: draw a batch, embed both sides, contrast, step; one level at a time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ophclip import console
from ophclip.config import load_config, to_dict, to_toml
from ophclip.errors import OphclipError, UsageError
from ophclip.files import replace_file
from ophclip.models import ModelConfig, build_model, save_model
from ophclip.pretrain.augment import augment_clips
from ophclip.pretrain.checkpoint import load_checkpoint, save_checkpoint
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.data import TrainingData, load_data
from ophclip.pretrain.losses import Rows, text_ids
from ophclip.pretrain.objective import Loss, Objective
from ophclip.pretrain.retrieval_terms import Retrieved
from ophclip.pretrain.sampler import Alternation, LevelName, batch_indices, step_rng
from ophclip.pretrain.schedule import retrieval_schedule
from ophclip.pretrain.views import draw_view
from ophclip.retrieval import SilentBank

BANK_BATCH = 32  # silent videos encoded at once


@dataclass(frozen=True)
class RunSummary:
    """What a run did; losses are means over the last tenth of its steps, None where there were none."""

    out: str
    steps: int
    resumed_from: int
    num_clips: int
    num_narrated: int
    num_silent: int
    clip_loss: float | None
    video_loss: float | None
    seconds: float


def pretrain(config: PretrainConfig, out: Path, *, resume: bool = False) -> RunSummary:
    """Train a dual encoder and write a run folder.

    The folder holds config.toml, model.toml, model.safetensors, metrics.jsonl (a line a step), bank/ and
    checkpoints/. With `resume` the run goes on from its newest checkpoint and, on a CPU, ends with the
    weights that it would have had uninterrupted.

    Raises:
        UsageError: `out` holds another run, or corpus, cache and configuration do not fit together.
        OphclipError: the loss is not finite; the batch is named.
    """
    config = config.resolved()
    data = load_data(config)
    _prepare_folder(out, config, resume)
    return _Trainer(config, data, out).run()


class _Trainer:
    def __init__(self, config: PretrainConfig, data: TrainingData, out: Path) -> None:
        self.config, self.data, self.out = config, data, out
        self.device = _device(config.device)
        self.model = build_model(_model_config(config, data), seed=config.seed).to(self.device)
        self.model.log_scale.requires_grad_(config.learn_temperature)
        self.objective = Objective(config, has_frames=data.has_frames).to(self.device)
        self.optimizer = _optimizer(nn.ModuleList([self.model, self.objective]), config)
        self.bank = SilentBank([video.video_id for video in data.silent], config.dim)
        self.alternation = Alternation(config.clip_steps, config.video_steps)
        share = config.clip_steps / max(1, config.clip_steps + config.video_steps)
        batches = max(1, len(data.clips) // min(config.batch_clips, len(data.clips)))
        self.retrieval = retrieval_schedule(config, batches / share if share else batches)
        self.autocast = _uses_bf16(config.precision, self.device)

    def run(self) -> RunSummary:
        start = time.perf_counter()
        first = self._resume()
        log = self.out / "metrics.jsonl"
        _truncate_log(log, first)
        with log.open("a") as metrics, console.progress("pretrain", self.config.steps, "steps") as progress:
            progress.advance(first)
            for step in range(first, self.config.steps):
                with _torch_seeded(self.config.seed, step, self.device):
                    record = self._step(step)
                metrics.write(json.dumps(record) + "\n")
                metrics.flush()
                progress.note(f"{record['level']} loss {record['loss']:.3f}")
                progress.advance()
                if (step + 1) % self.config.checkpoint_every_steps == 0:
                    save_checkpoint(self.out / "checkpoints", step + 1, self.model, self.optimizer, self.bank)
        self._finish()
        return self._summary(log, first, time.perf_counter() - start)

    def _resume(self) -> int:
        restored = load_checkpoint(self.out / "checkpoints", self.model, self.optimizer)
        if restored is None:
            return 0
        step, self.bank = restored
        console.say(f"resuming from step {step}")
        return min(step, self.config.steps)

    def _step(self, step: int) -> dict[str, Any]:
        started = time.perf_counter()
        self.model.train()
        level = self.alternation.level(step)
        rate = _learning_rate(self.config, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        solved, members = self._clip_problem(step) if level == "clip" else self._video_problem(step)
        loss = solved.total
        if not math.isfinite(loss.item()):
            raise OphclipError(
                f"the loss is {loss.item()} at step {step}, {level} batch {', '.join(members[:8])}",
                remedy="look at these items, lower lr, or resume with another seed",
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.optimizer.step()
        self.objective.clamp_scale_(self.model.log_scale)
        return {
            "step": step,
            "level": level,
            "loss": loss.item(),
            "grad_norm": norm.item(),
            "lr": rate,
            "terms": list(solved.parts),
            "seconds": round(time.perf_counter() - started, 4),
        }

    def _clip_problem(self, step: int) -> tuple[Loss, list[str]]:
        config = self.config
        indices = self._indices("clip", step, config.batch_clips, len(self.data.clips))
        rows, texts = self.data.clip_batch(indices, config, step)
        images, narrations = self._embed(rows, step), self.model.embed_text(texts, config.clip_tokens)
        loss = self.objective.clip_loss(
            Rows.whole(images),
            Rows.whole(narrations),
            text_ids(texts),
            self.model.scale,
            self._views(rows, step) if self.objective.needs_views else None,
        )
        return loss, [self.data.clips[index].clip_id for index in indices]

    def _video_problem(self, step: int) -> tuple[Loss, list[str]]:
        config = self.config
        indices = self._indices("video", step, config.batch_videos, len(self.data.narrated))
        chosen = [self.data.narrated[index] for index in indices]
        rows, texts = self.data.video_batch(chosen, config)
        videos, titles = self._embed(rows, step), self.model.embed_text(texts, config.video_tokens)
        found = None
        if config.num_retrieved and len(self.bank) and step >= self.retrieval.first_step:
            self._refresh_bank(step)
            _, slots = self.bank.retrieve(titles, config.num_retrieved)
            found = Retrieved(slots, self.bank.keys, self.bank.values)
        loss = self.objective.video_loss(
            Rows.whole(videos), Rows.whole(titles), text_ids(texts), self.model.scale, found
        )
        return loss, [video.video_id for video in chosen]

    def _indices(self, level: LevelName, step: int, batch: int, num_items: int) -> Any:
        return batch_indices(self.config.seed, level, self.alternation.turn(step), batch, num_items)

    def _embed(self, rows: Tensor, step: int | None = None) -> Tensor:
        """Mean over frames of the frame embeddings: rows [B, T, ...] to [B, D], not normalised."""
        if not self.data.has_frames:
            return self.model.embed_features(rows.to(self.device).float()).mean(dim=1)
        if step is not None and self.config.augment:
            rows = augment_clips(rows, step_rng(self.config.seed, "augment", step))
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            return self.model.embed_frames(rows.to(self.device)).float().mean(dim=1)

    def _views(self, rows: Tensor, step: int) -> tuple[Rows, Rows]:
        rng = step_rng(self.config.seed, "views", step)
        consistent = self.config.temporally_consistent
        first, second = (
            Rows.whole(self._embed(draw_view(rows, rng, temporally_consistent=consistent))) for _ in range(2)
        )
        return first, second

    def _refresh_bank(self, step: int) -> None:
        never = self.bank.max_age(step) > step
        if not never and self.bank.max_age(step) < self.retrieval.refresh_steps:
            return
        self.model.eval()
        with torch.no_grad():
            for start in range(0, len(self.data.silent), BANK_BATCH):
                videos = self.data.silent[start : start + BANK_BATCH]
                rows, texts = self.data.video_batch(videos, self.config)
                keys = self.model.embed_text(texts, self.config.video_tokens)
                self.bank.update([video.video_id for video in videos], keys, self._embed(rows), step)
        self.model.train()

    def _finish(self) -> None:
        if len(self.bank):
            self.bank.steps.fill_(-1)  # the bank of a finished run is of its final weights
            self._refresh_bank(self.config.steps)
        self.bank.save(self.out / "bank")
        save_model(self.model, self.out)

    def _summary(self, log: Path, resumed_from: int, seconds: float) -> RunSummary:
        records = [json.loads(line) for line in log.read_text().splitlines()]
        tail = records[-max(1, len(records) // 10) :]

        def mean_loss(level: LevelName) -> float | None:
            losses = [record["loss"] for record in tail if record["level"] == level]
            return sum(losses) / len(losses) if losses else None

        data = self.data
        return RunSummary(
            out=str(self.out),
            steps=self.config.steps,
            resumed_from=resumed_from,
            num_clips=len(data.clips),
            num_narrated=len(data.narrated),
            num_silent=len(data.silent),
            clip_loss=mean_loss("clip"),
            video_loss=mean_loss("video"),
            seconds=round(seconds, 2),
        )


@contextmanager
def _torch_seeded(seed: int, step: int, device: str) -> Iterator[None]:
    # Dropout draws from torch's own generators: seeded by the step, a resumed run draws what it would have.
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(step_rng(seed, "torch", step).integers(2**63)))
        yield


def _prepare_folder(out: Path, config: PretrainConfig, resume: bool) -> None:
    path = out / "config.toml"
    if path.exists():
        if not resume:
            raise UsageError(f"{out} already holds a run", remedy="pass --resume to go on, or another --out")
        stored = load_config(PretrainConfig, path)
        changed = [
            key
            for key in to_dict(config).keys() | to_dict(stored).keys()
            if to_dict(config).get(key) != to_dict(stored).get(key)
        ]
        if changed:
            raise UsageError(
                f"{out} was begun with other values of {', '.join(sorted(changed))}",
                remedy=f"resume with {path}, or pass another --out",
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    replace_file(path, to_toml(config).encode())


def _truncate_log(path: Path, step: int) -> None:
    """Drop what an interrupted run logged after its last checkpoint, a torn last line included."""
    if not path.exists():
        return
    replace_file(path, b"".join(path.read_bytes().splitlines(keepends=True)[:step]))


def _model_config(config: PretrainConfig, data: TrainingData) -> ModelConfig:
    encoder = data.cache.provenance["encoder"]
    shape = data.cache.row_shape
    if data.has_frames and shape[0] != shape[1]:
        raise UsageError(
            f"{config.cache} must hold square frames, got {shape[0]}x{shape[1]}",
            remedy="build it with --stream frames --size 96, say",
        )
    return ModelConfig(
        vision=config.vision if data.has_frames else encoder,
        text=config.text,
        dim=config.dim,
        image_size=shape[0] if data.has_frames else 224,
        trains_vision=data.has_frames,
        temperature=config.temperature,
    )


def _optimizer(model: nn.Module, config: PretrainConfig) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=config.lr,
    )


def _learning_rate(config: PretrainConfig, step: int) -> float:
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    left = max(1, config.steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - config.warmup_steps) / left))


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device must be available, got 'cuda' without a GPU", remedy="set device=auto")
    return name


def _uses_bf16(precision: str, device: str) -> bool:
    if precision != "auto":
        return precision == "bf16"
    return device == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())
