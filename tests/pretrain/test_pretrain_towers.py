# SPDX-License-Identifier: Apache-2.0
"""The keys of the towers, through a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ophclip.corpus import Corpus
from ophclip.errors import UsageError
from ophclip.pretrain import PretrainConfig, pretrain


def config(corpus: Corpus, cache: Path, **changes: object) -> PretrainConfig:
    small = {"dim": 32, "steps": 3, "clip_steps": 2, "batch_clips": 8, "batch_videos": 4, "clip_frames": 2}
    return PretrainConfig(
        corpus=corpus.root,
        cache=cache,
        precision="fp32",
        video_frames=2,
        num_retrieved=0,
        lr=1e-3,
        warmup_steps=0,
        **small | changes,  # type: ignore[arg-type]
    )


def test_a_run_begins_with_imported_weights_and_keeps_the_report(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bias = torch.randn(32)
    torch.save({"backbone_img.global_embedder.bias": bias, "other": torch.zeros(1)}, tmp_path / "w.pth")
    changes = {"init_weights": tmp_path / "w.pth", "steps": 0}
    pretrain(config(shapes_corpus, frames_cache, **changes), tmp_path / "run")
    assert torch.equal(load_file(tmp_path / "run" / "model.safetensors")["image_projection.bias"], bias)
    report = json.loads((tmp_path / "run" / "init_weights.json").read_text())
    assert report["loaded"] == ["image_projection.bias"]
    assert report["unused"] == ["other"]
    assert "image_projection.weight" in report["missing"]
    assert "1 tensors loaded" in capsys.readouterr().err


def test_frozen_towers_end_a_run_as_they_began_it(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path
) -> None:
    changes = {"train_vision": "last-1", "train_text": "frozen", "recompute_activations": True}
    pretrain(config(shapes_corpus, frames_cache, steps=0), tmp_path / "before")
    pretrain(config(shapes_corpus, frames_cache, **changes), tmp_path / "after")
    before, after = (load_file(tmp_path / run / "model.safetensors") for run in ("before", "after"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.rsplit(".", 2)[0] for name in moved if name.startswith("vision.")} == {"vision.stages.3"}
    assert not any(name.startswith("text.") for name in moved)
    assert {"image_projection.weight", "text_projection.weight"} < moved


def test_a_scope_that_cannot_be_read_is_named_before_anything_is_written(
    shapes_corpus: Corpus, frames_cache: Path
) -> None:
    with pytest.raises(UsageError, match="train_vision must be full, frozen or last-n"):
        config(shapes_corpus, frames_cache, train_vision="half")
