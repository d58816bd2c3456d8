# SPDX-License-Identifier: Apache-2.0
"""Real architectures with random weights and few of them, saved to folders: nothing is fetched."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "phaco", "probe", "lens", "rhex", "##is", "##es"]
SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 3}
IMAGE = {"image_size": 32, "patch_size": 8}


def save_resnet(folder: Path) -> None:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[2, 1])
    transformers.ResNetModel(config).save_pretrained(folder)


def save_vit(folder: Path) -> None:
    transformers.ViTModel(transformers.ViTConfig(**SMALL, **IMAGE)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )


def save_bert(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    config = transformers.BertConfig(
        **SMALL | {"num_hidden_layers": 5}, vocab_size=len(WORDS), max_position_embeddings=64
    )
    transformers.BertModel(config).save_pretrained(folder)


def save_clip(folder: Path) -> None:
    letters = [*string.ascii_lowercase, *(letter + "</w>" for letter in string.ascii_lowercase)]
    vocabulary = {
        token: number for number, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    end = vocabulary["<|endoftext|>"]
    text = {"vocab_size": len(vocabulary), "bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    config = transformers.CLIPConfig(
        text_config={**SMALL, **text, "max_position_embeddings": 40},
        vision_config={**SMALL, **IMAGE},
        projection_dim=8,
    )
    transformers.CLIPModel(config).save_pretrained(folder)


SAVERS: dict[str, Callable[[Path], None]] = {
    "resnet": save_resnet,
    "vit": save_vit,
    "bert": save_bert,
    "clip": save_clip,
}


@pytest.fixture(scope="session")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of small networks by the name of their kind, and the built-in "tiny"."""
    folders = {"tiny": "tiny"}
    for name, save in SAVERS.items():
        folder = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        save(folder)
        folders[name] = str(folder)
    return folders
