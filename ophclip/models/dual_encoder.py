# SPDX-License-Identifier: Apache-2.0
"""One visual and one text tower that share a space; both levels of the method use the same pair."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ophclip.config import load_config, to_toml
from ophclip.errors import DamageError, UsageError
from ophclip.files import replace_file
from ophclip.models.pooling import Pooling
from ophclip.models.recompute import recompute_in_backward
from ophclip.models.scope import hold_frozen, num_trained, set_scope
from ophclip.models.tokens import Tokens
from ophclip.video.geometry import Geometry

TOWERS = "towers"
MAX_LOG_SCALE = math.log(100)  # CLIP's clamp


@dataclass(frozen=True)
class ModelConfig:
    """What is needed to build a dual encoder; kept beside its weights as `model.toml`."""

    vision: str = "tiny"
    """Built-in "tiny", or a transformers model by name or folder."""
    text: str = "tiny"
    """Built-in "tiny", or a transformers model by name or folder."""
    dim: int = 768
    """Length of the joint embedding."""
    image_size: int = 96
    """Side of the square frames that the visual tower reads, in pixels."""
    feature_dim: int = 0
    """0: frames are encoded here. Else features of that length, of the frozen tower `vision`, are read."""
    feature_weights: str = ""
    """Hash of the weights of that frozen tower, which is not part of this model."""
    temperature: float = 0.1
    """Of the contrastive losses; the first value if it is learned."""
    text_pooling: Pooling = "auto"
    """From token states to one row: "lineage", "mean", "cls", "eos", or "auto" for the tower's own."""
    train_vision: str = "full"
    """What of the visual tower trains: "full", "frozen", or "last-n" for its last n blocks."""
    train_text: str = "full"
    """What of the text tower trains, as above."""
    recompute_activations: bool = False
    """Keep only the inputs of each block and compute the rest again in the backward pass."""

    def __post_init__(self) -> None:
        num_trained(self.train_vision, "train_vision")
        num_trained(self.train_text, "train_text")


class Tower(Protocol):
    """What scope and recomputation need of a tower."""

    dim: int

    @property
    def blocks(self) -> list[nn.Module]: ...

    @property
    def stem(self) -> nn.Module | None: ...


class TextTower(Tower, Protocol):
    """Texts to `[n, dim]`."""

    def __call__(self, texts: Sequence[str] | Tokens, max_tokens: int) -> Tensor: ...


class DualEncoder(nn.Module):
    """Embeds frames, features of a frozen tower, and texts; embeddings are not normalised."""

    def __init__(self, config: ModelConfig, towers: Path | None = None) -> None:
        """Build what `config` names; from the descriptions in `towers` where it is given and has them."""
        super().__init__()
        self.config = config
        self.vision = None if config.feature_dim else build_vision(config.vision, _part(towers, "vision"))
        feature_dim = config.feature_dim or cast(Tower, self.vision).dim
        self.image_projection = _projection(self.vision, feature_dim, config.dim)
        self.text = build_text(config.text, config.text_pooling, _part(towers, "text"))
        text_dim = cast(Tower, self.text).dim
        # The lineage projects the image into the text space and leaves the text as it is.
        is_left = text_dim == config.dim and _own_projection(self.text, config.dim) is None
        self.text_projection: nn.Module = (
            nn.Identity() if is_left else _projection(self.text, text_dim, config.dim)
        )
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        # A tuple, which does not register the modules a second time.
        self._frozen = (
            *_prepare(self.vision, config.train_vision, "train_vision", config.recompute_activations),
            *_prepare(self.text, config.train_text, "train_text", config.recompute_activations),
        )

    def train(self, mode: bool = True) -> DualEncoder:
        """Set training mode, in which what is frozen stays in evaluation mode."""
        super().train(mode)
        hold_frozen(self._frozen)
        return self

    @property
    def dim(self) -> int:
        """Length of the joint embedding."""
        return self.config.dim

    @property
    def geometry(self) -> Geometry:
        """How frames must be cut to be read by this model."""
        return Geometry(self.config.image_size, self.config.image_size, "crop")

    @property
    def scale(self) -> Tensor:
        """The inverse temperature, clamped at 100."""
        return torch.exp(self.log_scale.clamp(max=MAX_LOG_SCALE))

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Embed frames `[..., H, W, 3]`, uint8 or float in [0, 1], as `[..., D]`."""
        if self.vision is None:
            raise UsageError(
                f"this model reads features of {self.config.vision!r}, not frames",
                remedy="encode the frames with that tower first (load_encoder does)",
            )
        features = self.vision(frames.flatten(0, -4))
        return self.embed_features(features).reshape(*frames.shape[:-3], self.dim)

    def embed_features(self, features: Tensor) -> Tensor:
        """Embed features `[..., F]` of the visual tower as `[..., D]`."""
        return cast(Tensor, self.image_projection(features))

    def embed_text(self, texts: Sequence[str] | Tokens, max_tokens: int = 77) -> Tensor:
        """Embed `texts` as `[n, D]`, reading at most `max_tokens` tokens of each.

        `Tokens` are taken where the text tower made them (`Tokenizing`), for the same `max_tokens`.
        """
        return cast(Tensor, self.text_projection(cast(TextTower, self.text)(texts, max_tokens)))


def build_vision(name: str, described: Path | None = None) -> nn.Module:
    """Build the visual tower of that name: frames `[N, H, W, 3]` to `[N, dim]`.

    Where `described` is given, it is built from that folder, and its weights are to be set by the caller.
    """
    if name == "tiny":
        from ophclip.models.tiny import TinyVision

        return TinyVision()
    from ophclip.models.pretrained import PretrainedVision

    if described is None:
        return PretrainedVision(name)
    return PretrainedVision(str(described), has_weights=False)


def build_text(name: str, pooling: Pooling = "auto", described: Path | None = None) -> nn.Module:
    """Build the text tower of that name: texts to `[n, dim]`; `described` as in `build_vision`."""
    if name == "tiny":
        from ophclip.models.tiny import TinyText

        if pooling != "auto":
            raise UsageError(
                f"text_pooling must be auto for the text tower 'tiny', which has its own, got {pooling!r}",
                remedy="set text_pooling=auto, or another text tower",
            )
        return TinyText()
    from ophclip.models.pretrained import PretrainedText

    if described is None:
        return PretrainedText(name, pooling)
    return PretrainedText(str(described), pooling, has_weights=False)


def _projection(tower: nn.Module | None, width: int, dim: int) -> nn.Linear:
    """Return the layer into the joint space; it begins as the one that a CLIP brings, where that fits."""
    layer, own = nn.Linear(width, dim), _own_projection(tower, dim)
    if own is not None:
        with torch.no_grad():
            layer.weight.copy_(own)
            layer.bias.zero_()
    return layer


def _own_projection(tower: nn.Module | None, dim: int) -> Tensor | None:
    own = cast(Tensor | None, getattr(tower, "own_projection", None))
    return own if own is not None and len(own) == dim else None


def _part(towers: Path | None, name: str) -> Path | None:
    return towers / name if towers is not None and (towers / name).is_dir() else None


def _prepare(tower: nn.Module | None, scope: str, key: str, recompute: bool) -> list[nn.Module]:
    if tower is None:
        return []
    blocks, stem = cast(Tower, tower).blocks, cast(Tower, tower).stem
    if recompute:
        for block in [stem, *blocks] if stem is not None else blocks:
            recompute_in_backward(block)
    return set_scope(tower, blocks, scope, key)


def build_model(config: ModelConfig, *, seed: int = 0, towers: Path | None = None) -> DualEncoder:
    """Build a dual encoder; the layers that are not pretrained depend on `seed` alone.

    With `towers`, a folder that `save_model` wrote, pretrained weights are not read: the caller sets all.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DualEncoder(config, towers)


def save_model(model: DualEncoder, folder: Path) -> None:
    """Write all that `load_model` needs into a run folder: `towers/`, `model.toml`, and the weights last.

    `towers/` holds configuration and tokenizer of towers that are not built in, so that a run can be read
    where they are not installed.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    for name, tower in (("vision", model.vision), ("text", model.text)):
        describe = getattr(tower, "save_description", None)
        if describe is not None:
            _save_description(cast(Callable[[Path], None], describe), folder / TOWERS / name)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    replace_file(folder / "model.toml", to_toml(model.config).encode())
    replace_file(folder / "model.safetensors", save(weights))


def _save_description(describe: Callable[[Path], None], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ophclip-") as temporary:
        describe(Path(temporary))
        for path in sorted(Path(temporary).iterdir()):
            replace_file(folder / path.name, path.read_bytes())


def load_model(run: Path, device: str = "cpu") -> DualEncoder:
    """Load the model of a run folder, in evaluation mode.

    Raises:
        UsageError: the folder holds no finished run.
        DamageError: the weights cannot be read or do not fit the model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights = run / "model.safetensors"
    if not weights.is_file():
        raise UsageError(f"{run} is not a run: it has no model.safetensors", remedy="pass a pretrain output")
    model = build_model(load_config(ModelConfig, run / "model.toml"), towers=run / TOWERS)
    try:
        stored = load_file(weights)
        if "text_projection.weight" in stored and isinstance(model.text_projection, nn.Identity):
            model.text_projection = nn.Linear(
                model.dim, model.dim
            )  # a CLIP's own, which towers/ does not hold
        model.load_state_dict(stored)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise DamageError(
            f"{weights} cannot be loaded: {error}", remedy="resume the run from a checkpoint with --resume"
        ) from error
    return model.to(device).eval()
