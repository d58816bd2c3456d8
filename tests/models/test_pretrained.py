# SPDX-License-Identifier: Apache-2.0
"""Towers from transformers: real architectures with random weights, saved to a folder and read by path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from ophclip.errors import UsageError
from ophclip.models import load_encoder
from ophclip.models.pretrained import POOLED_LAYERS, PretrainedText

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "phaco", "probe", "lens"]


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resnet")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    transformers.ResNetModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        vision_config={**vision, "image_size": 32, "patch_size": 8}, text_config=vision
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=5,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_a_resnet_folder_gives_its_pooled_features(resnet: Path) -> None:
    encoder = load_encoder(str(resnet))
    assert encoder.row_shape == (16,)
    assert encoder.geometry.height == 224
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    rows = encoder(frames)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    model = transformers.AutoModel.from_pretrained(resnet).eval()
    with torch.no_grad():
        expected = model((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)).pooler_output.flatten(1)
    np.testing.assert_allclose(rows, expected.numpy(), atol=5e-3)


def test_of_a_clip_folder_the_visual_tower_is_used(clip: Path) -> None:
    encoder = load_encoder(str(clip))
    assert encoder.row_shape == (16,)
    assert encoder.geometry.height == 32
    assert np.isfinite(encoder(np.zeros((1, 32, 32, 3), dtype=np.uint8))).all()


def test_normalised_planes_give_the_rows_of_the_frames_they_are_of(clip: Path) -> None:
    encoder = load_encoder(str(clip))
    normal = encoder.frame_format.normalization
    assert normal is not None
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    planes = (pixels - torch.tensor(normal.mean).view(3, 1, 1)) / torch.tensor(normal.std).view(3, 1, 1)
    np.testing.assert_allclose(encoder(planes.half()), encoder(frames), atol=5e-3)


def test_other_weights_have_another_key(resnet: Path, tmp_path: Path) -> None:
    before = load_encoder(str(resnet)).key["weights"]
    model = transformers.AutoModel.from_pretrained(resnet)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(tmp_path)
    assert load_encoder(str(tmp_path)).key["weights"] != before


def test_text_pooling_is_that_of_the_lineage(bert: Path) -> None:
    tower = PretrainedText(str(bert)).eval()
    texts, slots = ["the phaco probe", "lens"], 10
    with torch.no_grad():
        found = tower(texts, slots)
        for text, row in zip(texts, found, strict=True):
            ids = torch.tensor([[2, *(WORDS.index(word) for word in text.split()), 3]])
            layers = tower.model(input_ids=ids, output_hidden_states=True).hidden_states[-POOLED_LAYERS:]
            # Word by word, as the lineage does: sum of a word's pieces, mean over `slots`, sum over layers.
            expected = sum(layer[0].sum(0) / slots for layer in layers)
            torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


def test_a_text_model_without_a_tokenizer_is_an_error(bert: Path, tmp_path: Path) -> None:
    transformers.AutoModel.from_pretrained(bert).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="has no tokenizer"):
        PretrainedText(str(tmp_path))
