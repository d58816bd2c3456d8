# SPDX-License-Identifier: Apache-2.0
"""Encoders for the cache: frames in, rows out, with a key that changes when the rows would."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ophclip.errors import UsageError
from ophclip.models.dual_encoder import ModelConfig, build_vision, load_model
from ophclip.video.frames import FrameFormat, Normalization
from ophclip.video.geometry import Geometry

TINY_SEED = 20241122

Precision = Literal["fp32", "bf16"]
"""Of the arithmetic of a network, as torch's autocast does it; its weights are kept as they are."""
Features = Literal["projected", "backbone"]
RUN_FEATURES: dict[Features, str] = {"projected": "run", "backbone": "run-backbone"}
"""What encoders are called that are runs; which run it is, the hash of the weights says."""


class ModuleEncoder:
    """A network as the cache sees it: frames to float16 rows `[n, dim]`.

    Frames are uint8 `[n, H, W, 3]`, arrays or tensors on any device; or, with `encode_planes`, tensors
    `[n, 3, H, W]` that were normalised by `normalization`.
    """

    dtype: Literal["float16"] = "float16"

    def __init__(
        self,
        name: str,
        encode: Callable[[Tensor], Tensor],
        *,
        dim: int,
        geometry: Geometry,
        weights_hash: str,
        device: str = "cpu",
        precision: Precision = "fp32",
        encode_planes: Callable[[Tensor], Tensor] | None = None,
        normalization: Normalization | None = None,
    ) -> None:
        self.name, self.geometry = name, geometry
        self.row_shape = (dim,)
        self.key = {"encoder": name, "weights": weights_hash, "precision": precision}
        self.frame_format = FrameFormat(as_tensors=True, normalization=normalization)
        self._encode, self._encode_planes, self._device = encode, encode_planes, device

    def __call__(self, frames: NDArray[np.uint8] | Tensor) -> NDArray[np.float16]:
        """Encode a batch of frames of this encoder's geometry; done with them when it returns."""
        with torch.inference_mode(), self._arithmetic():
            if isinstance(frames, np.ndarray):
                frames = torch.from_numpy(np.ascontiguousarray(frames))
            is_planes = frames.is_floating_point()
            network = self._encode_planes if is_planes and self._encode_planes else self._encode
            rows = network(frames.to(self._device))
        encoded: NDArray[np.float16] = rows.to(torch.float16).cpu().numpy()
        return encoded

    def _arithmetic(self) -> AbstractContextManager[object]:
        if self.key["precision"] == "fp32":
            return nullcontext()
        return torch.autocast(self._device.partition(":")[0], torch.bfloat16)


def default_precision(device: str) -> Precision:
    """Return the precision that networks run at on a device: bf16 on a GPU."""
    return "bf16" if device.startswith("cuda") else "fp32"


def load_encoder(
    spec: str, device: str = "cpu", *, features: Features = "projected", precision: str | None = None
) -> ModuleEncoder:
    """Load an encoder: "tiny", a run folder, or a transformers vision model by name or folder.

    "tiny" is a small fixed network that needs no download. A run folder gives the trained model: its rows
    are normalised joint embeddings, or, for "backbone", what its visual tower gives before the projection.
    Nothing is fetched. `precision` is "fp32" or "bf16", by default that of the device; rows of another one
    are other rows.

    Raises:
        UsageError: there is no such encoder on this machine, or no such precision.
    """
    precision = precision or default_precision(device)
    if precision not in get_args(Precision):
        raise UsageError(f"the precision must be fp32 or bf16, got {precision!r}", remedy="pass one of them")
    chosen = cast(Precision, precision)
    if (Path(spec) / "model.safetensors").is_file() and (Path(spec) / "model.toml").is_file():
        return _run_encoder(Path(spec), device, features, chosen)
    tower = _tower(spec, device)
    size = int(tower.image_size)  # type: ignore[arg-type]
    return ModuleEncoder(
        spec,
        tower,
        dim=int(tower.dim),  # type: ignore[arg-type]
        geometry=Geometry(size, size, "crop"),
        weights_hash=hash_weights(tower),
        device=device,
        precision=chosen,
        encode_planes=getattr(tower, "encode_planes", None),
        normalization=_normalization(tower),
    )


def hash_weights(module: nn.Module) -> str:
    """Return a short hash of a network's parameters and buffers, those that are not saved included.

    Such a buffer holds the mean and deviation that frames are normalised with.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted((module.state_dict() | dict(module.named_buffers())).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _tower(spec: str, device: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TINY_SEED)
        return build_vision(spec).to(device).eval()


def _normalization(tower: nn.Module) -> Normalization | None:
    """Return the normalisation that a decoder can do for a tower, if it takes what is normalised."""
    return tower.normalization if hasattr(tower, "encode_planes") else None  # type: ignore[return-value]


def _check_features(run: Path, config: ModelConfig, weights: str) -> None:
    if config.feature_weights not in ("", weights):
        raise UsageError(
            f"{run} reads features of {config.vision!r} with weights {config.feature_weights}, "
            f"got {weights} on this machine",
            remedy=f"give {config.vision!r} the weights that the run's features were made with",
        )


def _run_encoder(run: Path, device: str, features: Features, precision: Precision) -> ModuleEncoder:
    model = load_model(run, device)
    hashed, tower = [hash_weights(model)], model.vision
    if tower is None:
        tower = _tower(model.config.vision, device)
        hashed.append(hash_weights(tower))
        _check_features(run, model.config, hashed[-1])

    def embed(found: Tensor) -> Tensor:
        return F.normalize(model.embed_features(found), dim=-1) if features == "projected" else found

    def encode_planes(planes: Tensor) -> Tensor:
        return embed(tower.encode_planes(planes))  # type: ignore[operator]

    return ModuleEncoder(
        RUN_FEATURES[features],
        lambda frames: embed(tower(frames)),
        dim=model.dim if features == "projected" else int(tower.dim),  # type: ignore[arg-type]
        geometry=model.geometry,
        weights_hash="-".join(hashed),
        device=device,
        precision=precision,
        encode_planes=encode_planes,
        normalization=_normalization(tower),
    )
