# SPDX-License-Identifier: Apache-2.0
"""What a run changes and a checkpoint holds: model, heads, optimiser and silent bank."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ophclip.errors import UsageError
from ophclip.models import RUN_FEATURES, DualEncoder, ModelConfig, build_model
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.data import TrainingData
from ophclip.pretrain.objective import Objective
from ophclip.retrieval import SilentBank


@dataclass
class TrainState:
    """The trained parts of a run; equal on every rank."""

    model: DualEncoder
    objective: Objective
    optimizer: torch.optim.Optimizer
    bank: SilentBank

    @property
    def trained(self) -> list[nn.Parameter]:
        """The weights that the optimiser changes."""
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]


def build_state(config: PretrainConfig, data: TrainingData, device: str) -> TrainState:
    """Build what is trained, as it is before the first step.

    Raises:
        UsageError: the cache does not fit the towers that the configuration names.
    """
    model = build_model(_model_config(config, data), seed=config.seed).to(device)
    model.log_scale.requires_grad_(config.learn_temperature)
    objective = Objective(config, has_frames=data.has_frames).to(device)
    bank = SilentBank(
        [video.video_id for video in data.silent],
        config.dim,
        key=config.bank_key,
        momentum=config.bank_momentum,
        device=device,
    )
    return TrainState(model, objective, _optimizer(nn.ModuleList([model, objective]), config), bank)


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Return the rate of a step: a linear warm-up, then half a cosine to 0 over the steps that are left."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    left = max(1, config.steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - config.warmup_steps) / left))


def uses_bf16(precision: str, device: str) -> bool:
    """Return whether the towers compute in bfloat16."""
    if precision != "auto":
        return precision == "bf16"
    return device != "cpu" or bool(torch.cpu._is_avx512_bf16_supported())


def _model_config(config: PretrainConfig, data: TrainingData) -> ModelConfig:
    encoder, shape = data.cache.provenance["encoder"], data.cache.row_shape
    if data.has_frames and shape[0] != shape[1]:
        raise UsageError(
            f"{config.cache} must hold square frames, got {shape[0]}x{shape[1]}",
            remedy="build it with --stream frames --size 96, say",
        )
    if not data.has_frames and encoder in RUN_FEATURES.values():
        raise UsageError(
            f"{config.cache} must hold features of a tower with a name, got those of a run",
            remedy="save the run's tower with save_pretrained, and pass that folder as --encoder",
        )
    default = PretrainConfig.__dataclass_fields__["vision"].default
    if not data.has_frames and config.vision not in (default, encoder):
        raise UsageError(
            f"{config.cache} must hold features of vision = {config.vision!r}, got those of {encoder!r}",
            remedy=f"leave vision out, or build the cache with --encoder {config.vision}",
        )
    return ModelConfig(
        vision=config.vision if data.has_frames else encoder,
        feature_dim=0 if data.has_frames else shape[0],
        feature_weights="" if data.has_frames else data.cache.provenance["key"].get("weights", ""),
        text=config.text,
        dim=config.dim,
        image_size=shape[0] if data.has_frames else 224,
        temperature=config.temperature,
        text_pooling=config.text_pooling,
        train_vision=config.train_vision,
        train_text=config.train_text,
        recompute_activations=config.recompute_activations,
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
