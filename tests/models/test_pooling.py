# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ophclip.errors import UsageError
from ophclip.models import ModelConfig, build_model
from ophclip.models.pooling import pool_text
from ophclip.models.pretrained import PretrainedText

TEXTS = ["the rhexis probe rhexes the lens", "lens", "", "rhexis " * 30]


def literal_lineage_pooling(tower: PretrainedText, text: str, slots: int) -> Tensor:
    """Walk token by token: pieces into words, words into slots, then mean over slots, sum over layers."""
    limit = min(slots, tower.model.config.max_position_embeddings)
    tokens = tower._tokenizer(
        text, padding="max_length", truncation=True, max_length=limit, return_tensors="pt"
    )
    states = tower.model(**tokens, output_hidden_states=True).hidden_states[-4:]
    pieces = tower._tokenizer.convert_ids_to_tokens(tokens["input_ids"][0])
    total = torch.zeros(tower.dim)
    for layer in states:
        words: list[Tensor] = []
        for place, piece in enumerate(pieces):
            if piece.startswith("##"):
                words[-1] = words[-1] + layer[0, place]
            else:
                words.append(layer[0, place])
            if piece == "[SEP]":
                break
        empty = [torch.zeros(tower.dim)] * (slots - len(words))
        total = total + torch.stack([*words, *empty]).mean(dim=0)
    return total


@pytest.mark.parametrize("slots", [77, 24])
def test_the_closed_form_equals_the_lineages_walk_over_tokens(slots: int, towers: dict[str, str]) -> None:
    tower = PretrainedText(towers["bert"]).eval()
    assert tower.pooling == "lineage"
    with torch.no_grad():
        found = tower(TEXTS, slots)
        for text, row in zip(TEXTS, found, strict=True):
            torch.testing.assert_close(row, literal_lineage_pooling(tower, text, slots))


def test_each_pooling_reads_its_tokens() -> None:
    layers = [torch.randn(2, 5, 3) for _ in range(6)]
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    output = layers[-1]
    torch.testing.assert_close(pool_text(layers, mask, "mean", 9)[0], output[0, :3].mean(0))
    assert torch.equal(pool_text(layers, mask, "cls", 9), output[:, 0])
    assert torch.equal(pool_text(layers, mask, "eos", 9), torch.stack([output[0, 2], output[1, 4]]))
    expected = sum(layer[0, :3].sum(0) / 9 for layer in layers[2:])
    torch.testing.assert_close(pool_text(layers, mask, "lineage", 9)[0], expected)


@pytest.mark.parametrize("pooling", ["lineage", "mean", "cls", "eos"])
@pytest.mark.parametrize("name", ["bert", "clip"])
def test_a_row_does_not_depend_on_the_rest_of_the_batch(
    name: str, pooling: str, towers: dict[str, str]
) -> None:
    tower = PretrainedText(towers[name], pooling).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        together = tower(TEXTS, 30)
        for text, row in zip(TEXTS, together, strict=True):
            torch.testing.assert_close(tower([text], 30)[0], row, atol=1e-5, rtol=1e-4)


def test_the_pooling_is_a_key_and_tiny_has_its_own(towers: dict[str, str]) -> None:
    model = build_model(ModelConfig(text=towers["bert"], dim=16, text_pooling="cls"))
    assert model.text.pooling == "cls"
    with pytest.raises(UsageError, match="text_pooling must be auto for the text tower 'tiny'"):
        build_model(ModelConfig(text_pooling="mean"))
