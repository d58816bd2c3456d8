# SPDX-License-Identifier: Apache-2.0
"""Towers from transformers, by name or folder; only files already on this machine are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ophclip.errors import UsageError
from ophclip.models.pixels import IMAGENET_MEAN, IMAGENET_STD, Normalize
from ophclip.models.tokens import Tokens

POOLED_LAYERS = 4  # the lineage sums the last four hidden layers


class PretrainedVision(nn.Module):
    """A transformers vision model: pooled features `[N, dim]` of frames `[N, H, W, 3]`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        from transformers import AutoImageProcessor

        self.model = _load_model(name)
        # CLIP-like models hold both towers: keep the one that sees.
        self.model = getattr(self.model, "vision_model", self.model)
        try:
            processor: Any = AutoImageProcessor.from_pretrained(name, local_files_only=True)
        except (OSError, ValueError):
            processor = None
        self.normalize = Normalize(
            tuple(getattr(processor, "image_mean", None) or IMAGENET_MEAN),
            tuple(getattr(processor, "image_std", None) or IMAGENET_STD),
        )
        self.image_size = int(getattr(self.model.config, "image_size", None) or 224)
        with torch.inference_mode():
            probe = torch.zeros(1, self.image_size, self.image_size, 3, dtype=torch.uint8)
            self.dim = int(self.eval()(probe).shape[1])

    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames `[N, H, W, 3]` (uint8, or float in [0, 1]) as features `[N, dim]`."""
        output = self.model(pixel_values=self.normalize(frames))
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        if pooled is None:
            pooled = output.last_hidden_state[:, 0]
        return pooled.flatten(1)


class PretrainedText(nn.Module):
    """A transformers text model with the pooling of the SurgVLP lineage, in closed form.

    The lineage sums word pieces into words and means over `max_tokens` word slots, empty ones counted, then
    sums the last four layers. That equals the sum over those layers and all tokens up to the separator,
    divided by `max_tokens`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        model = _load_model(name)
        self.model = getattr(model, "text_model", model)
        self._tokenizer = _load_tokenizer(name)
        self.dim = int(self.model.config.hidden_size)

    def tokenize(self, texts: Sequence[str], max_tokens: int) -> list[NDArray[np.int32]]:
        """Return the ids of each text, at most `max_tokens`, special tokens included."""
        limit = min(max_tokens, int(getattr(self.model.config, "max_position_embeddings", max_tokens)))
        found = self._tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
        return [np.array(ids, dtype=np.int32) for ids in found]

    def forward(self, texts: Sequence[str] | Tokens, max_tokens: int) -> Tensor:
        """Encode `texts` as `[n, dim]`, reading at most `max_tokens` tokens of each."""
        tokens = texts if isinstance(texts, Tokens) else Tokens.of(self.tokenize(texts, max_tokens))
        tokens = tokens.to(next(self.model.parameters()).device)
        mask = tokens.mask
        ids = tokens.ids.masked_fill(~mask, int(self._tokenizer.pad_token_id or 0))
        output = self.model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        layers = torch.stack(output.hidden_states[-POOLED_LAYERS:]).sum(0)
        return (layers * mask.unsqueeze(-1)).sum(dim=1) / max_tokens


def _load_model(name: str) -> Any:
    from transformers import AutoModel

    try:
        return AutoModel.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"encoder {name!r} is not on this machine, or not a transformers model",
            remedy="use 'tiny', a folder with a transformers model, a run folder, or fetch the model first",
        ) from error


def _load_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError):
        tokenizer = None
    # Without its files, transformers makes a tokenizer that knows the special tokens only.
    if tokenizer is None or len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise UsageError(
            f"text model {name!r} has no tokenizer on this machine",
            remedy="put the tokenizer's files into the same folder",
        )
    return tokenizer
