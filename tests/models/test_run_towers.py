# SPDX-License-Identifier: Apache-2.0
"""A run holds all that its towers are built from: it is read where they are not installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from ophclip.errors import UsageError
from ophclip.models import ModelConfig, build_model, load_encoder, load_model, save_model
from ophclip.models.encoders import hash_weights
from ophclip.models.pretrained import PretrainedVision

TEXTS = ["the phaco probe", "", "lens rhexis"]


def moved(name: str, towers: dict[str, str], tmp_path: Path) -> Path:
    """A copy of a tower's folder that a test may remove."""
    return Path(shutil.copytree(towers[name], tmp_path / f"only here {name}", dirs_exist_ok=True))


@pytest.mark.parametrize(("vision", "text"), [("resnet", "bert"), ("vit", "clip"), ("clip", "tiny")])
def test_a_run_is_read_where_its_towers_are_gone(
    vision: str, text: str, towers: dict[str, str], tmp_path: Path
) -> None:
    folders = {name: moved(name, towers, tmp_path) for name in {vision, text} - {"tiny"}}
    named = {"vision": str(folders[vision]), "text": str(folders.get(text, text))}
    model = build_model(ModelConfig(**named, dim=12, image_size=32), seed=3).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01)  # as training would: what was loaded is not what is stored
    save_model(model, tmp_path / "run")
    for folder in folders.values():
        shutil.rmtree(folder)
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    read = load_model(tmp_path / "run")
    with torch.no_grad():
        assert torch.equal(read.embed_frames(frames), model.embed_frames(frames))
        assert torch.equal(read.embed_text(TEXTS), model.embed_text(TEXTS))
    encoder = load_encoder(str(tmp_path / "run"))
    assert encoder.key["weights"] == hash_weights(model)


def test_the_files_of_a_run_do_not_say_where_its_towers_lay(towers: dict[str, str], tmp_path: Path) -> None:
    model = build_model(ModelConfig(vision=towers["clip"], text=towers["bert"], dim=12))
    save_model(model, tmp_path)
    stored = [path for path in (tmp_path / "towers").rglob("*") if path.is_file()]
    assert {path.name for path in stored} > {"config.json", "preprocessor_config.json"}
    for path in stored:
        assert str(Path(towers["bert"]).parent) not in path.read_text(encoding="utf-8"), path.name
        assert str(Path(towers["clip"]).parent) not in path.read_text(encoding="utf-8"), path.name


def test_a_run_on_features_reads_texts_without_the_tower_that_made_them(
    towers: dict[str, str], tmp_path: Path
) -> None:
    tower = moved("resnet", towers, tmp_path)
    weights = hash_weights(PretrainedVision(str(tower)))
    config = ModelConfig(vision=str(tower), dim=16, feature_dim=32, feature_weights=weights)
    model = build_model(config).eval()
    save_model(model, tmp_path / "run")
    assert load_encoder(str(tmp_path / "run")).row_shape == (16,)
    shutil.rmtree(tower)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "run").embed_text(TEXTS), model.embed_text(TEXTS))
    with pytest.raises(UsageError, match="not on this machine"):
        load_encoder(str(tmp_path / "run"))


def test_frames_are_not_encoded_by_a_tower_with_other_weights(towers: dict[str, str], tmp_path: Path) -> None:
    tower = moved("resnet", towers, tmp_path)
    weights = hash_weights(PretrainedVision(str(tower)))
    save_model(
        build_model(ModelConfig(vision=str(tower), feature_dim=32, feature_weights=weights)), tmp_path / "run"
    )
    network = transformers.AutoModel.from_pretrained(tower)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    network.save_pretrained(tower)
    with pytest.raises(UsageError, match=f"with weights {weights}, got [0-9a-f]+ on this machine; give"):
        load_encoder(str(tmp_path / "run"))
