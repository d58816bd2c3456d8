# SPDX-License-Identifier: Apache-2.0
"""Towers from transformers: real architectures with random weights, saved to a folder and read by path."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

from ophclip.errors import DamageError, UsageError
from ophclip.models import ModelConfig, build_model, load_encoder, load_model, save_model
from ophclip.models.hub import load_network, load_tokenizer, pixel_statistics
from ophclip.models.pixels import IMAGENET_MEAN
from ophclip.models.pooling import Pooling
from ophclip.models.pretrained import PretrainedText, PretrainedVision


def frames(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_a_resnet_folder_gives_its_pooled_features(towers: dict[str, str]) -> None:
    encoder = load_encoder(towers["resnet"])
    assert encoder.row_shape == (32,)
    assert encoder.geometry.height == 224
    rows = encoder(frames(2, 224))
    pixels = torch.from_numpy(frames(2, 224)).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    model = transformers.AutoModel.from_pretrained(towers["resnet"]).eval()
    with torch.no_grad():
        expected = model((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)).pooler_output.flatten(1)
    np.testing.assert_allclose(rows, expected.numpy(), atol=5e-3)


def test_a_vit_gives_its_class_token_and_not_its_pooler(towers: dict[str, str]) -> None:
    tower = PretrainedVision(towers["vit"])
    pixels = torch.from_numpy(frames(2, 32)).permute(0, 3, 1, 2) / 255
    model = transformers.ViTModel.from_pretrained(towers["vit"]).eval()
    with torch.no_grad():
        expected = model((pixels - 0.5) / 0.5).last_hidden_state[:, 0]
        torch.testing.assert_close(tower(torch.from_numpy(frames(2, 32))), expected)


def test_normalised_planes_give_the_rows_of_the_frames_they_are_of(towers: dict[str, str]) -> None:
    encoder = load_encoder(towers["clip"])
    normal = encoder.frame_format.normalization
    assert normal is not None
    batch = frames(3, 32)
    pixels = torch.from_numpy(batch).permute(0, 3, 1, 2) / 255
    planes = (pixels - torch.tensor(normal.mean).view(3, 1, 1)) / torch.tensor(normal.std).view(3, 1, 1)
    np.testing.assert_allclose(encoder(planes.half()), encoder(batch), atol=5e-3)


def test_of_a_clip_folder_each_tower_is_used(towers: dict[str, str]) -> None:
    vision, text = PretrainedVision(towers["clip"]), PretrainedText(towers["clip"]).eval()
    model = transformers.CLIPModel.from_pretrained(towers["clip"]).eval()
    batch, texts = torch.from_numpy(frames(2, 32)), ["lens", "the phaco probe"]
    tokens = load_tokenizer(towers["clip"])(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model.vision_model(vision.normalize(batch)).pooler_output
        torch.testing.assert_close(vision(batch), expected)
        assert text.pooling == "eos"
        torch.testing.assert_close(text(texts, 77), model.text_model(**tokens).pooler_output)


@pytest.mark.parametrize("name", ["vit", "clip"])
def test_a_transformer_reads_frames_of_another_side(name: str, towers: dict[str, str]) -> None:
    tower = PretrainedVision(towers[name])
    with torch.no_grad():
        assert tower(torch.from_numpy(frames(2, 48))).shape == (2, tower.dim)


def test_other_weights_or_pixel_statistics_have_another_key(towers: dict[str, str], tmp_path: Path) -> None:
    keys = {load_encoder(towers["vit"]).key["weights"]}
    folder = Path(shutil.copytree(towers["vit"], tmp_path / "vit"))
    (folder / "preprocessor_config.json").unlink()
    keys.add(load_encoder(str(folder)).key["weights"])
    model = transformers.AutoModel.from_pretrained(folder)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(folder)
    keys.add(load_encoder(str(folder)).key["weights"])
    assert len(keys) == 3


def test_pixel_statistics_without_a_file_are_those_of_the_kind(towers: dict[str, str]) -> None:
    assert pixel_statistics(towers["vit"], "vit") == ((0.5,) * 3, (0.5,) * 3)
    assert pixel_statistics(towers["resnet"], "resnet")[0] == IMAGENET_MEAN
    assert pixel_statistics(towers["clip"], "clip_vision_model")[0][0] == pytest.approx(0.48145466)


def test_the_joint_space_projects_the_image_and_leaves_the_text(towers: dict[str, str]) -> None:
    model = build_model(ModelConfig(vision=towers["resnet"], text=towers["bert"], dim=16)).eval()
    assert model.image_projection.weight.shape == (16, 32)
    with torch.no_grad():
        assert torch.equal(model.embed_text(["lens"]), model.text(["lens"], 77))
    wider = build_model(ModelConfig(vision=towers["resnet"], text=towers["bert"], dim=24)).eval()
    with torch.no_grad():
        assert wider.embed_text(["lens"]).shape == (1, 24)


def test_a_name_in_the_hubs_cache_is_found_and_any_other_is_named_with_its_remedy(
    towers: dict[str, str], tmp_path: Path
) -> None:
    stored = tmp_path / "hub" / "models--some--resnet"
    shutil.copytree(towers["resnet"], stored / "snapshots" / "0123abc")
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("0123abc")
    program = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('the network was used')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from ophclip.errors import UsageError\n"
        "from ophclip.models import load_encoder\n"
        "print(load_encoder('some/resnet').row_shape)\n"
        "try:\n    load_encoder('some/other')\n"
        "except UsageError as error:\n    print(error)\n"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.startswith("(32,)")
    assert "'some/other' is not on this machine; fetch it with `hf download some/other`" in done.stdout


def test_nothing_connects_while_towers_load(towers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("bert", "clip"):
        PretrainedText(towers[name])
    PretrainedVision(towers["resnet"])


def test_loading_is_silent_and_leaves_the_librarys_settings(
    towers: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    before = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    PretrainedText(towers["bert"])
    PretrainedVision(towers["vit"])
    assert capfd.readouterr() == ("", "")
    assert (transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()) == before


def test_a_folder_that_is_no_model_or_a_damaged_one_is_an_error(
    towers: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"has no config\.json"):
        load_network(str(tmp_path))
    with pytest.raises(UsageError, match="not on this machine; name a folder"):
        load_network("./not/there")
    folder = Path(shutil.copytree(towers["resnet"], tmp_path / "cut"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DamageError, match="cannot be read"):
        load_network(str(folder))


def test_weights_that_a_file_lacks_are_an_error_and_not_random(
    towers: dict[str, str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(towers["vit"], tmp_path / "deeper"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(UsageError, match="must hold every weight of a ViTModel, but 16 are missing: "):
        load_network(str(folder))


def test_code_that_a_folder_brings_is_not_run(towers: dict[str, str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(towers["bert"], tmp_path / "code"))
    config = json.loads((folder / "config.json").read_text())
    brought = {"auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}, "model_type": "mine"}
    (folder / "config.json").write_text(json.dumps(config | brought))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(DamageError, match="cannot be read"):
        load_network(str(folder))
    assert not (tmp_path / "ran").exists()


def test_a_text_model_without_a_tokenizer_is_an_error(towers: dict[str, str], tmp_path: Path) -> None:
    transformers.AutoModel.from_pretrained(towers["bert"]).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="has no tokenizer"):
        PretrainedText(str(tmp_path))


def test_a_tower_of_the_wrong_sense_is_an_error(towers: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="visual tower must read pixels"):
        PretrainedVision(towers["bert"])
    with pytest.raises(UsageError, match="text tower must read tokens"):
        PretrainedText(towers["vit"])


def test_a_clip_begins_as_the_joint_space_that_it_was_trained_in(
    towers: dict[str, str], tmp_path: Path
) -> None:
    clip = transformers.CLIPModel.from_pretrained(towers["clip"]).eval()
    names = {"vision": towers["clip"], "text": towers["clip"]}
    model = build_model(ModelConfig(**names, dim=clip.projection_dim, image_size=32)).eval()
    batch, texts = torch.from_numpy(frames(2, 32)), ["lens", "the phaco probe"]
    tokens = load_tokenizer(towers["clip"])(texts, padding=True, return_tensors="pt")
    tower = model.vision
    assert isinstance(tower, PretrainedVision)
    save_model(model, tmp_path)
    for each in (model, load_model(tmp_path)):
        with torch.no_grad():
            joint = clip(pixel_values=tower.normalize(batch), **tokens)
            image, text = (
                F.normalize(rows, dim=1) for rows in (each.embed_frames(batch), each.embed_text(texts))
            )
        torch.testing.assert_close(image, joint.image_embeds)
        torch.testing.assert_close(text, joint.text_embeds)


def test_a_clip_whose_text_has_the_length_of_the_joint_space_is_projected_and_read_back(
    towers: dict[str, str], tmp_path: Path
) -> None:
    config = transformers.CLIPConfig.from_pretrained(towers["clip"])
    config.projection_dim = config.text_config.hidden_size
    folder = Path(shutil.copytree(towers["clip"], tmp_path / "clip"))
    clip = transformers.CLIPModel(config).eval()
    clip.save_pretrained(folder)
    model = build_model(ModelConfig(text=str(folder), dim=config.projection_dim)).eval()
    save_model(model, tmp_path / "run")
    shutil.rmtree(folder)
    with torch.no_grad():
        found = load_model(tmp_path / "run").embed_text(["lens"])
        assert torch.equal(found, model.embed_text(["lens"]))
        tokens = load_tokenizer(towers["clip"])(["lens"], return_tensors="pt")
        expected = clip.text_projection(clip.text_model(**tokens).pooler_output)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("dim", "pooling"), [(24, "eos"), (8, "mean")])
def test_the_projection_of_a_clip_is_not_used_where_it_does_not_fit(
    dim: int, pooling: Pooling, towers: dict[str, str]
) -> None:
    text = PretrainedText(towers["clip"], "eos").own_projection
    model = build_model(ModelConfig(text=towers["clip"], dim=dim, text_pooling=pooling))
    weight = model.text_projection.weight
    assert text is not None
    assert weight.shape != text.shape or not torch.equal(weight, text)  # type: ignore[operator, arg-type]
