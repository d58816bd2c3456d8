# SPDX-License-Identifier: Apache-2.0
"""Whether silent videos teach the towers what they alone show."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ophclip.corpus import Corpus
from ophclip.pretrain import PretrainConfig, pretrain
from ophclip.retrieval import load_bank


def run(corpus: Corpus, cache: Path, out: Path, *, encoded: int, steps: int = 8) -> dict[str, Tensor]:
    config = PretrainConfig(
        corpus=corpus.root,
        cache=cache,
        dim=32,
        steps=steps,
        clip_steps=1,
        batch_clips=12,
        batch_videos=6,
        clip_frames=2,
        video_frames=4,
        ssl="none",
        num_retrieved=2,
        encode_retrieved=encoded,
        retrieval_warmup_steps=0,
        refresh_every_steps=100,
        lr=3e-3,
        warmup_steps=2,
        precision="fp32",
        augment=False,
    )
    pretrain(config, out)
    return load_file(out / "model.safetensors")


def words_that_turned(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[int]:
    """Rows of the text tower's table that changed direction; weight decay alone only shortens them."""
    name = next(name for name in before if name.endswith("embedding.weight"))
    similarity = F.cosine_similarity(before[name], after[name], dim=1)
    return set((similarity < 1 - 1e-5).nonzero().flatten().tolist()) - {0}


def test_words_of_silent_titles_are_learnt_only_if_they_are_encoded(
    shapes_corpus: Corpus, features_cache: Path, tmp_path: Path
) -> None:
    cache = features_cache
    initial = run(shapes_corpus, cache, tmp_path / "initial", encoded=0, steps=0)
    constant = words_that_turned(initial, run(shapes_corpus, cache, tmp_path / "constant", encoded=0))
    encoded = words_that_turned(initial, run(shapes_corpus, cache, tmp_path / "encoded", encoded=4))
    assert constant < encoded  # "case 17" is in silent titles alone


def test_encoding_what_was_retrieved_is_repeatable(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path
) -> None:
    first, second = (run(shapes_corpus, frames_cache, tmp_path / name, encoded=4) for name in ("a", "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    steps = load_bank(tmp_path / "a" / "bank").steps
    assert steps.tolist() == [8] * 6
