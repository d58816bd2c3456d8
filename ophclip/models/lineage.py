# SPDX-License-Identifier: Apache-2.0
"""Import of the weights that SurgVLP, HecVL and PeskaVLP distribute.

Their files name the tensors of a torchvision ResNet-50, of a linear layer behind it and of a BERT; ours are
named by transformers. The networks are the same, so the numbers carry over unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ophclip.errors import DamageError, UsageError
from ophclip.models.dual_encoder import DualEncoder
from ophclip.models.weight_files import read_state_dict

SHOWN = 20  # keys of each side that are printed; the stored report has them all


@dataclass(frozen=True)
class ImportReport:
    """What became of every tensor, on both sides."""

    source: str
    """The file."""
    loaded: list[str]
    """Tensors of the model that were set."""
    unused: list[str]
    """Keys of the file that have no place in the model."""
    missing: list[str]
    """Tensors of the model that the file lacks; they keep their values."""

    def lines(self) -> list[str]:
        """Return the report as lines for a reader."""
        return [
            f"{self.source}: {len(self.loaded)} tensors loaded",
            *_listed("in the file, without a place in the model", self.unused),
            *_listed("in the model, not in the file", self.missing),
        ]


def load_lineage_weights(model: DualEncoder, path: Path) -> ImportReport:
    """Set the weights of `model` from a state dict of the lineage; see `read_state_dict` for its forms.

    All of it finds a place where the visual tower is a ResNet-50 and the text tower a BERT. Nothing is set
    unless everything that has a place fits.

    Raises:
        UsageError: a shape differs, nothing has a place, or the file is no state dict or holds code.
        DamageError: the file cannot be read, or holds values that are not finite.
    """
    tensors = read_state_dict(path)
    own = model.state_dict()
    is_resnet = _is_torchvision_like(model)
    named = {key: _our_name(key, is_resnet) for key in tensors}
    places = {key: name for key, name in named.items() if name is not None and name in own}
    if not places:
        raise UsageError(
            f"{path} must hold backbone_img.* or backbone_text.* tensors of this model, got "
            f"{', '.join(sorted(tensors)[:3])}",
            remedy="pass weights of SurgVLP, HecVL or PeskaVLP, and a ResNet-50 and a BERT as towers",
        )
    _check(path, {key: (tensors[key], own[name], name) for key, name in places.items()})
    with torch.no_grad():
        for key, name in places.items():
            own[name].copy_(tensors[key])
    return ImportReport(
        source=str(path),
        loaded=sorted(places.values()),
        unused=sorted(tensors.keys() - places.keys()),
        missing=sorted(own.keys() - set(places.values())),
    )


def _check(path: Path, pairs: dict[str, tuple[Tensor, Tensor, str]]) -> None:
    for key, (given, own, name) in pairs.items():
        if given.shape != own.shape:
            raise UsageError(
                f"{path}: {key} must have the shape {list(own.shape)} of {name}, got {list(given.shape)}",
                remedy="set dim and the towers to those that the weights were made with",
            )
        if given.is_floating_point() and not torch.isfinite(given).all():
            raise DamageError(
                f"{path}: {key} must be finite, got NaN or infinity", remedy="fetch the file again"
            )


def _our_name(key: str, is_resnet: bool) -> str | None:
    if key.startswith("backbone_img.model."):
        rest = key.removeprefix("backbone_img.model.")
        inner = resnet_name(rest) if is_resnet else rest
        return inner and f"vision.model.{inner}"
    if key.startswith("backbone_img.global_embedder."):
        return f"image_projection.{key.removeprefix('backbone_img.global_embedder.')}"
    if key.startswith("backbone_text.model."):
        return f"text.model.{key.removeprefix('backbone_text.model.')}"
    return None


_PARTS = {"conv": "convolution", "bn": "normalization"}


def resnet_name(name: str) -> str | None:
    """Return what transformers calls a tensor of torchvision's bottleneck ResNet; None for one it lacks."""
    if stem := re.fullmatch(r"(conv|bn)1\.(\w+)", name):
        return f"embedder.embedder.{_PARTS[stem[1]]}.{stem[2]}"
    block = re.fullmatch(r"layer(\d)\.(\d+)\.(?:(conv|bn)(\d)|downsample\.([01]))\.(\w+)", name)
    if block is None:
        return None
    stage, number, part, place, shortcut, tensor = block.groups()
    prefix = f"encoder.stages.{int(stage) - 1}.layers.{number}"
    if shortcut is not None:
        return f"{prefix}.shortcut.{'normalization' if shortcut == '1' else 'convolution'}.{tensor}"
    return f"{prefix}.layer.{int(place) - 1}.{_PARTS[part]}.{tensor}"


def _is_torchvision_like(model: DualEncoder) -> bool:
    """Return whether the visual tower is a ResNet that computes what torchvision's does."""
    config = getattr(getattr(model.vision, "model", None), "config", None)
    if getattr(config, "model_type", None) != "resnet":
        return False
    if getattr(config, "downsample_in_bottleneck", False) or getattr(
        config, "downsample_in_first_stage", False
    ):
        raise UsageError(
            "the ResNet must halve its maps in the 3 x 3 convolutions of stages 2 to 4, as the file's does",
            remedy="use one with downsample_in_bottleneck = false and downsample_in_first_stage = false",
        )
    return True


def _listed(what: str, keys: list[str]) -> list[str]:
    rest = len(keys) - SHOWN
    shown = [f"  {key}" for key in keys[:SHOWN]]
    return [f"{what}: {len(keys)}", *shown, *([f"  and {rest} more"] if rest > 0 else [])]
