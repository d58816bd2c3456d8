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
    alternation: Literal["steps", "epoch"] = "steps"
    """What the levels take turns in: steps (ours), or epoch, whole passes over their items (lineage)."""
    clip_steps: int = 5
    """Clip-level steps, or passes, in a row before `video_steps` follow (that they alternate: paper; ratio:
    ours)."""
    video_steps: int = 1
    """Video-level steps, or passes, in a row; 0 trains on clips only."""
    batch_clips: int = 128
    """Clips of a clip-level step, over all processes (ours)."""
    batch_videos: int = 32
    """Videos of a video-level step, over all processes (ours)."""
    micro_batch: int = 0
    """Clips or videos that go through the towers at once, where the batch does not fit; the loss still
    contrasts the whole batch. 0: all of a process (ours)."""

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
    """Of every contrast; where it is learned, its first value (0.1, fixed: lineage)."""
    learn_temperature: bool = False
    """Learn the temperature (ours: off, as in the lineage)."""
    max_scale: float = 100.0
    """Largest inverse temperature that may be learned; the smallest is 1 (lineage, from CLIP)."""
    symmetric: bool = True
    """Contrast texts with videos as well as videos with texts (lineage; the paper does not say)."""
    reduction: Literal["logsum", "meanlog"] = "logsum"
    """How several positives combine: MIL-NCE or SupCon (ours)."""
    equal_texts: Literal["positives", "negatives"] = "positives"
    """What rows of one batch with the same narration or title are of one another (ours)."""

    ssl: Literal["auto", "none", "simsiam", "simclr"] = "auto"
    """Self-supervision of clips: SimSiam (paper) or SimCLR (lineage); auto: SimSiam in frames mode, none in
    features mode, which has no views to augment."""
    lambda_ss: float = 1.0
    """Weight of self-supervision (ours); 0 turns it off."""
    ssl_hidden: int = 2048
    """Width of the projector (ours, from SimSiam)."""
    ssl_dim: int = 2048
    """Length of a projection (ours, from SimSiam)."""
    ssl_bottleneck: int = 512
    """Width inside the predictor (ours, from SimSiam)."""
    temporally_consistent: bool = False
    """Augment all frames of a view alike (ours); false: each frame by itself (lineage)."""

    num_retrieved: int = 4
    """Silent videos retrieved for each narrated one, top K (retrieval: paper; K: ours); 0 turns it off."""
    lambda_ret: float = 1.0
    """Weight of the retrieval terms together (ours)."""
    second_view: bool = False
    """Read other frames of each narrated video too: this second view is contrasted with silent videos beside
    the two terms that hold a title. A video step embeds twice as many narrated frames (ours)."""
    fuse: Literal["none", "mean"] = "none"
    """none: retrieved videos are further positives. mean: their mean joins the video's embedding, which is
    contrasted with its title (both ours; the paper's formula is not known)."""
    fuse_beta: float = 1.0
    """Weight of that mean beside the video's own embedding (ours)."""
    retrieved_weight: float = 1.0
    """Weight of a retrieved positive beside the row's own, which has 1 (ours)."""
    min_similarity: float = -1.0
    """Least inner product of a query and what it retrieves; -1 takes all of the top K (ours)."""
    encode_retrieved: int = 0
    """How many of the silent videos that a batch retrieved, drawn at random, are encoded anew in its step:
    their gradients train both towers, and their slots are overwritten. 0: all are constants (ours)."""
    bank_key: Literal["text", "visual", "sum"] = "text"
    """What titles are compared with in the search: silent titles, silent videos, or the normalised sum of
    both (query by title text: paper; key: ours)."""
    bank_momentum: float = 0.0
    """Share of the old embedding that stays in a slot that is written again (dynamic: paper; rule: ours)."""
    exclude_same_source: bool = True
    """Never retrieve a silent video that is the query's own file or YouTube id (ours)."""
    exclude_titles: Literal["none", "same", "near"] = "none"
    """Never retrieve a silent video whose uploaded title is the query's: the same but for case, marks and
    spaces, or near, the same words but for numbers and order (ours)."""
    retrieval_warmup_epochs: float = 1.0
    """Passes over the clips before retrieval begins: titles are not aligned before (ours)."""
    retrieval_warmup_steps: int | None = None
    """The same in steps; wins over epochs."""
    refresh_every_epochs: float = 1.0
    """Passes over the clips between full recomputations of the bank (dynamic: paper; rule: ours)."""
    refresh_every_steps: int | None = None
    """The same in steps; wins over epochs."""

    lr: float = 5e-5
    """Peak learning rate of AdamW (ours)."""
    weight_decay: float = 0.05
    """On matrices only, not on biases and norms (ours)."""
    warmup_steps: int = 500
    """Steps of linear warm-up, before a half cosine to 0 over the steps that are left (ours)."""
    grad_clip: float = 1.0
    """Largest gradient norm (ours)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the towers: bf16 where the machine multiplies it natively; losses are float32 (ours)."""
    device: str = "auto"
    """"cpu", "cuda", or "auto"; under torchrun each process takes a GPU of its own."""
    checkpoint_every_steps: int = 1000
    """Steps between checkpoints (ours)."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept, and the best one beside them (ours)."""
    held_out: str = ""
    """Split of the corpus whose contrastive loss says which checkpoint is best; empty: the training loss
    since the checkpoint before (ours)."""
    log: Literal["none", "tensorboard", "wandb"] = "none"
    """Where the numbers of each step go beside metrics.jsonl (ours)."""
    seed: int = 0
    """Of initial weights, sample order, windows and augmentation."""

    def __post_init__(self) -> None:
        for name, lowest in _LOWEST.items():
            value = getattr(self, name)
            if value is not None and not value >= lowest:  # NaN is out of range too
                raise UsageError(f"{name} must be at least {lowest}, got {value}", remedy=f"set {name}")
        for name in ("train_vision", "train_text"):
            num_trained(getattr(self, name), name)
        if self.clip_max_s < self.clip_min_s:
            raise UsageError(
                f"clip_max_s must be at least clip_min_s = {self.clip_min_s}, got {self.clip_max_s}",
                remedy="widen the window",
            )
        if self.clip_steps + self.video_steps == 0:
            raise UsageError(
                "clip_steps and video_steps must not both be 0", remedy="set one of them to 1 or more"
            )
        if self.second_view and (self.fuse != "none" or not self.num_retrieved):
            raise UsageError(
                f"second_view serves a term of retrieval, which fuse = {self.fuse!r} and num_retrieved = "
                f"{self.num_retrieved} leave out",
                remedy="set second_view=false, or fuse=none and num_retrieved=4, say",
            )
        if self.bank_momentum >= 1:
            raise UsageError(
                f"bank_momentum must be less than 1, got {self.bank_momentum}",
                remedy="set bank_momentum=0 to overwrite slots",
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
    "micro_batch": 0,
    "clip_min_s": 0.1,
    "min_caption_s": 0.0,
    "clip_frames": 1,
    "video_frames": 1,
    "clip_tokens": 1,
    "video_tokens": 1,
    "temperature": 0.01,
    "max_scale": 1.0,
    "lambda_ss": 0.0,
    "ssl_hidden": 1,
    "ssl_dim": 1,
    "ssl_bottleneck": 1,
    "num_retrieved": 0,
    "lambda_ret": 0.0,
    "encode_retrieved": 0,
    "fuse_beta": 0.0,
    "retrieved_weight": 1e-6,
    "min_similarity": -1.0,
    "bank_momentum": 0.0,
    "retrieval_warmup_epochs": 0.0,
    "retrieval_warmup_steps": 0,
    "refresh_every_epochs": 1e-6,
    "refresh_every_steps": 1,
    "lr": 0.0,
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "grad_clip": 1e-6,
    "checkpoint_every_steps": 1,
    "keep_checkpoints": 1,
    "dim": 1,
    "seed": 0,
}
