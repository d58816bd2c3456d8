# SPDX-License-Identifier: Apache-2.0
"""Videos as a run embeds them, kept on disk beside what they serve and made anew once the run has changed."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from ophclip import console
from ophclip.cache import BuildReport, CacheInput, Encoder, FeatureCache, build_cache, open_cache
from ophclip.models import load_encoder
from ophclip.video import Decoder


def embed_videos(
    run: Path, inputs: Sequence[CacheInput], store: Path, *, fps: float, decoder: Decoder, device: str
) -> tuple[FeatureCache, BuildReport]:
    """Embed the frames of `inputs` with the model of `run`; what `store` holds of them already is kept.

    Embeddings of other weights are removed: they are derived, and of no use once the run was trained on.
    """
    encoder = load_encoder(str(run), device, "fp32")  # scores must not depend on the device
    _remove_outdated(store, encoder)
    report = build_cache(inputs, store, encoder=encoder, fps=fps, decoder=decoder, device=device)
    return open_cache(store), report


def _remove_outdated(store: Path, encoder: Encoder) -> None:
    if not (store / "zarr.json").is_file():
        return
    made_by = open_cache(store).provenance
    if made_by["encoder"] == encoder.name and made_by["key"] != dict(encoder.key):
        console.say(f"{store} holds the embeddings of other weights: making it anew")
        outdated = store.with_name(f".{store.name}.{uuid.uuid4().hex}")
        store.rename(outdated)  # at once, so that an interruption leaves no half of it
        shutil.rmtree(outdated)
