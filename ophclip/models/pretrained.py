# SPDX-License-Identifier: Apache-2.0
"""Towers from transformers, by name or folder."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ophclip.errors import UsageError
from ophclip.models.hub import build_network, load_network, load_tokenizer, pixel_statistics
from ophclip.models.pixels import Normalize
from ophclip.models.pooling import Pooling, default_pooling, pool_text
from ophclip.models.scope import find_blocks
from ophclip.models.tokens import Tokens
from ophclip.video.frames import Normalization

DEFAULT_SIDE = 224  # of a network whose configuration states none


class PretrainedVision(nn.Module):
    """A transformers vision model: pooled features `[N, dim]` of frames `[N, H, W, 3]`.

    ResNets give the mean of their last map, transformers the class token behind their last norm. Without
    `has_weights`, `name` is a folder that `save_description` wrote, and the weights are the caller's to set.
    """

    def __init__(self, name: str, *, has_weights: bool = True) -> None:
        super().__init__()
        network = load_network(name) if has_weights else build_network(name)
        # CLIP-like models hold both towers: keep the one that sees.
        self.model = getattr(network, "vision_model", network)
        self.own_projection = _weight(network, "visual_projection")
        if self.model.main_input_name != "pixel_values":
            raise UsageError(
                f"the visual tower must read pixels, got {name!r}, a {type(network).__name__}",
                remedy="name a vision model, such as microsoft/resnet-50",
            )
        self.normalization = Normalization(*pixel_statistics(name, str(self.model.config.model_type)))
        self.normalize = Normalize(self.normalization.mean, self.normalization.std)
        self.image_size = int(getattr(self.model.config, "image_size", None) or DEFAULT_SIDE)
        self._interpolates = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        with torch.inference_mode():
            probe = torch.zeros(1, self.image_size, self.image_size, 3, dtype=torch.uint8)
            self.dim = int(self.eval()(probe).shape[1])

    @property
    def blocks(self) -> list[nn.Module]:
        """The residual blocks, first to last."""
        return find_blocks(self.model)

    @property
    def stem(self) -> nn.Module | None:
        """What comes before the blocks and keeps large maps: the first convolution of a ResNet."""
        return getattr(self.model, "embedder", None)

    def save_description(self, folder: Path) -> None:
        """Write what this tower is built from, but for its weights, into a folder."""
        self.model.config.save_pretrained(folder)
        normal = self.normalization
        stated = {"image_mean": list(normal.mean), "image_std": list(normal.std)}
        (folder / "preprocessor_config.json").write_text(
            json.dumps(stated, indent=2) + "\n", encoding="utf-8"
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames `[N, H, W, 3]` (uint8, or float in [0, 1]) as features `[N, dim]`."""
        return self.encode_planes(self.normalize(frames))

    def encode_planes(self, planes: Tensor) -> Tensor:
        """Encode normalised frames `[N, 3, H, W]` as features `[N, dim]`.

        A transformer reads frames of another side than its own with its position embeddings interpolated.
        """
        other_side = self._interpolates and planes.shape[2:] != (self.image_size, self.image_size)
        options = {"interpolate_pos_encoding": True} if other_side else {}
        output = self.model(pixel_values=planes.float(), **options)
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        if pooled is None:
            # A copy: a view would keep the states of every patch alive until the backward pass.
            pooled = output.last_hidden_state[:, 0].contiguous()
        return pooled.flatten(1)


class PretrainedText(nn.Module):
    """A transformers text model and its tokenizer: texts to `[n, dim]`; `has_weights` as above."""

    def __init__(self, name: str, pooling: Pooling = "auto", *, has_weights: bool = True) -> None:
        super().__init__()
        network = load_network(name) if has_weights else build_network(name)
        self.model = getattr(network, "text_model", network)
        if self.model.main_input_name != "input_ids":
            raise UsageError(
                f"the text tower must read tokens, got {name!r}, a {type(network).__name__}",
                remedy="name a text model, such as emilyalsentzer/Bio_ClinicalBERT",
            )
        self._tokenizer = load_tokenizer(name)
        self.dim = int(self.model.config.hidden_size)
        self.pooling = default_pooling(str(self.model.config.model_type)) if pooling == "auto" else pooling
        # Which was trained on the last token alone.
        self.own_projection = _weight(network, "text_projection") if self.pooling == "eos" else None

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer layers, first to last."""
        return find_blocks(self.model)

    @property
    def stem(self) -> nn.Module | None:
        """None: the embeddings of tokens keep little."""
        return None

    def save_description(self, folder: Path) -> None:
        """Write what this tower is built from, but for its weights, into a folder."""
        self.model.config.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def tokenize(self, texts: Sequence[str], max_tokens: int) -> list[NDArray[np.int32]]:
        """Return the ids of each text, at most `max_tokens`, special tokens included."""
        limit = min(max_tokens, int(getattr(self.model.config, "max_position_embeddings", max_tokens)))
        found = self._tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
        return [np.array(ids, dtype=np.int32) for ids in found]

    def forward(self, texts: Sequence[str] | Tokens, max_tokens: int) -> Tensor:
        """Encode `texts` as `[n, dim]`, reading at most `max_tokens` tokens of each."""
        tokens = texts if isinstance(texts, Tokens) else Tokens.of(self.tokenize(texts, max_tokens))
        tokens = tokens.to(next(self.model.parameters()).device)
        mask = tokens.mask.long()
        ids = tokens.ids.masked_fill(mask == 0, int(self._tokenizer.pad_token_id or 0))
        output = self.model(
            input_ids=ids, attention_mask=mask, output_hidden_states=self.pooling == "lineage"
        )
        # The tower's output stands for its last layer: a norm may follow that, as in CLIP.
        layers = (*(output.hidden_states or ())[:-1], output.last_hidden_state)
        return pool_text(layers, mask, self.pooling, max_tokens)


def _weight(network: nn.Module, layer: str) -> Tensor | None:
    """Return the weight of the linear layer by which a CLIP takes a tower's rows into its joint space."""
    projection = getattr(network, layer, None)
    return projection.weight.detach().clone() if isinstance(projection, nn.Linear) else None
