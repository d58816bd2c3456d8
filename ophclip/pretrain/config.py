# SPDX-License-Identifier: Apache-2.0
"""Every choice of pretraining, with where its default comes from.

"Paper" is OphCLIP (arXiv 2411.15421) as far as its public description states it; "lineage" is what
SurgVLP and PeskaVLP do; "ours" is our choice where neither says.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ophclip.errors import UsageError
from ophclip.models.scope import num_trained


@dataclass(frozen=True)
class PretrainConfig:
    """The configuration of a run; every key can be set in the TOML file or with `--set key=value`."""

    corpus: Path
    """Folder with videos.csv and clips.csv."""
    cache: Path
    """Cache of the corpus: frames (the visual tower trains) or features (it is frozen)."""

    vision: str = "tiny"
    """Visual tower in frames mode; in features mode the cache says which (lineage: ResNet-50)."""
    text: str = "tiny"
    """Text tower (lineage: Bio_ClinicalBERT, fine-tuned)."""
    dim: int = 768
    """Joint embedding (lineage)."""
    text_pooling: Literal["auto", "lineage", "mean", "cls", "eos"] = "auto"
    """Token states to one row (lineage: "lineage"); "auto" is "eos" for CLIP and "lineage" for any other."""
    train_vision: str = "full"
    """Frames mode: "full" (lineage), "frozen", or "last-n" for the last n blocks (ours)."""
    train_text: str = "full"
    """The same of the text tower."""
    recompute_activations: bool = False
    """Gradient checkpointing: less memory, a third more computing, the same gradients (ours)."""
    init_weights: Path | None = None
    """State dict of SurgVLP, HecVL or PeskaVLP to begin with."""

    steps: int = 20_000
    """Optimiser steps of both levels together (ours)."""
    clip_steps: int = 5
    """Clip-level steps in a row, before `video_steps` follow (alternation: paper; ratio: ours)."""
    video_steps: int = 1
    """Video-level steps in a row; 0 trains on clips only."""
    batch_clips: int = 128
    """Clips of a clip-level step (ours)."""
    batch_videos: int = 32
    """Videos of a video-level step (ours)."""

    clip_min_s: float = 3.0
    """Shortest window drawn from a caption (lineage)."""
    clip_max_s: float = 5.0
    """Longest window drawn from a caption (lineage)."""
    min_caption_s: float = 4.0
    """Captions shorter than this are widened on both sides (lineage)."""
    clip_frames: int = 4
    """Frames of a clip (lineage)."""
    video_frames: int = 64
    """Frames of a video, evenly over its whole span (lineage)."""
    clip_tokens: int = 77
    """Words or word pieces read of a narration (lineage)."""
    video_tokens: int = 200
    """Words or word pieces read of a title (lineage)."""
    augment: bool = True
    """Frames mode: turn by any angle, zoom, shift, flip and recolour each clip (ours)."""

    temperature: float = 0.1
    """Of every contrast (lineage)."""
    learn_temperature: bool = False
    """Learn the temperature, clamped at 1/100 (ours)."""

    num_retrieved: int = 4
    """Silent videos retrieved for each narrated one, top K (retrieval: paper; K: ours); 0 turns it off."""
    lambda_ret: float = 1.0
    """Weight of the retrieval terms (ours)."""
    reduction: Literal["logsum", "meanlog"] = "logsum"
    """How several positives combine: MIL-NCE or SupCon (ours)."""
    retrieval_warmup_steps: int = 2000
    """Steps before retrieval begins: titles are not aligned before (ours)."""
    refresh_every_steps: int = 500
    """Steps between full recomputations of the bank (dynamic: paper; rule: ours)."""

    lr: float = 5e-5
    """Peak learning rate of AdamW (ours)."""
    weight_decay: float = 0.05
    """On matrices only, not on biases and norms (ours)."""
    warmup_steps: int = 500
    """Steps of linear warm-up, before a half cosine to 0 over the steps that are left (ours)."""
    grad_clip: float = 1.0
    """Largest gradient norm (ours)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the visual tower: bf16 where the machine multiplies it natively; losses are float32 (ours)."""
    device: str = "auto"
    """"cpu", "cuda", or "auto"."""
    checkpoint_every_steps: int = 1000
    """Steps between checkpoints; the two newest are kept."""
    seed: int = 0
    """Of initial weights, sample order, windows and augmentation."""

    def __post_init__(self) -> None:
        for name, lowest in _LOWEST.items():
            if getattr(self, name) < lowest:
                raise UsageError(
                    f"{name} must be at least {lowest}, got {getattr(self, name)}", remedy=f"set {name}"
                )
        for name in ("train_vision", "train_text"):
            num_trained(getattr(self, name), name)
        if self.clip_max_s < self.clip_min_s:
            raise UsageError(
                f"clip_max_s must be at least clip_min_s = {self.clip_min_s}, got {self.clip_max_s}",
                remedy="widen the window",
            )

    def resolved(self) -> PretrainConfig:
        """Return the same configuration with absolute paths, as it is kept with the run."""
        return dataclasses.replace(
            self,
            corpus=self.corpus.resolve(),
            cache=self.cache.resolve(),
            vision=_absolute_folder(self.vision),
            text=_absolute_folder(self.text),
            init_weights=self.init_weights and self.init_weights.resolve(),
        )


def _absolute_folder(tower: str) -> str:
    is_folder = tower != "tiny" and Path(tower).is_dir()
    return str(Path(tower).resolve()) if is_folder else tower


_LOWEST: dict[str, float] = {
    "steps": 0,
    "clip_steps": 0,
    "video_steps": 0,
    "batch_clips": 1,
    "batch_videos": 1,
    "clip_min_s": 0.1,
    "min_caption_s": 0.0,
    "clip_frames": 1,
    "video_frames": 1,
    "clip_tokens": 1,
    "video_tokens": 1,
    "temperature": 0.01,
    "num_retrieved": 0,
    "lambda_ret": 0.0,
    "retrieval_warmup_steps": 0,
    "refresh_every_steps": 1,
    "lr": 0.0,
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "grad_clip": 1e-6,
    "checkpoint_every_steps": 1,
    "dim": 1,
    "seed": 0,
}
