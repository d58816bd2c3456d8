# SPDX-License-Identifier: Apache-2.0
"""Encoders for the cache: frames in, rows out, with a key that changes when the rows would."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ophclip.models.dual_encoder import build_vision, load_model
from ophclip.video.geometry import Geometry

TINY_SEED = 20241122


class ModuleEncoder:
    """A network as the cache sees it: uint8 frames `[n, H, W, 3]` to float16 rows `[n, dim]`."""

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
    ) -> None:
        self.name, self.geometry = name, geometry
        self.row_shape = (dim,)
        self.key = {"encoder": name, "weights": weights_hash}
        self._encode, self._device = encode, device

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Encode a batch of frames of this encoder's geometry."""
        with torch.inference_mode():
            rows = self._encode(torch.from_numpy(np.ascontiguousarray(frames)).to(self._device))
        encoded: NDArray[np.float16] = rows.to(torch.float16).cpu().numpy()
        return encoded


def load_encoder(spec: str, device: str = "cpu") -> ModuleEncoder:
    """Load an encoder: "tiny", a run folder, or a transformers vision model by name or folder.

    "tiny" is a small fixed network that needs no download. A run folder gives the trained model: its rows
    are normalised joint embeddings. Nothing is fetched.

    Raises:
        UsageError: there is no such encoder on this machine.
    """
    if (Path(spec) / "model.safetensors").is_file() and (Path(spec) / "model.toml").is_file():
        return _run_encoder(Path(spec), device)
    tower = _tower(spec, device)
    size = int(tower.image_size)  # type: ignore[arg-type]
    return ModuleEncoder(
        spec,
        tower,
        dim=int(tower.dim),  # type: ignore[arg-type]
        geometry=Geometry(size, size, "crop"),
        weights_hash=hash_weights(tower),
        device=device,
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


def _run_encoder(run: Path, device: str) -> ModuleEncoder:
    model = load_model(run, device)
    hashed, geometry = [hash_weights(model)], model.geometry
    if model.vision is None:
        backbone = _tower(model.config.vision, device)
        hashed.append(hash_weights(backbone))

        def embed(frames: Tensor) -> Tensor:
            return model.embed_features(backbone(frames))
    else:
        embed = model.embed_frames
    return ModuleEncoder(
        "run",
        lambda frames: F.normalize(embed(frames), dim=-1),
        dim=model.dim,
        geometry=geometry,
        weights_hash="-".join(hashed),
        device=device,
    )
