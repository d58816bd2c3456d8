# SPDX-License-Identifier: Apache-2.0
"""A configuration that runs in a second, and comparisons of runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file

from ophclip.corpus import Corpus
from ophclip.pretrain import PretrainConfig


def small(corpus: Corpus | Path, cache: Path, **changes: object) -> PretrainConfig:
    config = PretrainConfig(
        corpus=corpus.root if isinstance(corpus, Corpus) else corpus,
        cache=cache,
        dim=32,
        steps=12,
        clip_steps=2,
        batch_clips=12,
        batch_videos=6,
        clip_frames=2,
        video_frames=4,
        ssl="none",
        num_retrieved=2,
        retrieval_warmup_steps=4,
        refresh_every_steps=3,
        lr=3e-3,
        warmup_steps=2,
        precision="fp32",
        checkpoint_every_steps=4,
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
