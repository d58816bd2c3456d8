# SPDX-License-Identifier: Apache-2.0
"""Videos and pictures as a run embeds them, kept on disk, and made anew once the run has changed."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from ophclip import console
from ophclip.cache import BuildReport, CacheInput, Encoder, FeatureCache, build_cache, open_cache
from ophclip.errors import OphclipError
from ophclip.evaluate.datasets import Dataset
from ophclip.evaluate.pictures import embed_pictures
from ophclip.models import Features, ModuleEncoder, load_encoder
from ophclip.video import Decoder


def embed_dataset(
    run: Path,
    data: Dataset,
    store: Path,
    *,
    features: Features = "projected",
    decoder: Decoder = "auto",
    device: str = "cpu",
) -> FeatureCache:
    """Embed the items of a dataset at its label rate; what `store` holds of them already is kept.

    Raises:
        OphclipError: an item cannot be read; it is named.
    """
    if data.unit == "picture":
        encoder = _encoder(run, device, features)
        _remove_outdated(store, encoder)
        embed_pictures({item.video_id: item.pictures for item in data.items}, store, encoder, fps=data.fps)
        return open_cache(store)
    inputs = [CacheInput(item.video_id, item.path) for item in data.items]
    cache, report = embed_videos(
        run, inputs, store, fps=data.fps, decoder=decoder, device=device, features=features
    )
    if report.failed:
        video_id, reason = next(iter(report.failed.items()))
        raise OphclipError(
            f"{len(report.failed)} of {len(inputs)} videos of {data.name} cannot be read; "
            f"{video_id}: {reason}",
            remedy="mend or fetch these videos again: a score over fewer videos would not be comparable",
        )
    return cache


def embed_videos(
    run: Path,
    inputs: Sequence[CacheInput],
    store: Path,
    *,
    fps: float,
    decoder: Decoder,
    device: str,
    features: Features = "projected",
) -> tuple[FeatureCache, BuildReport]:
    """Embed the frames of `inputs` with the model of `run`; what `store` holds of them already is kept.

    Embeddings of other weights are removed: they are derived, and of no use once the run was trained on.
    """
    encoder = _encoder(run, device, features)
    _remove_outdated(store, encoder)
    report = build_cache(inputs, store, encoder=encoder, fps=fps, decoder=decoder, device=device)
    return open_cache(store), report


def _encoder(run: Path, device: str, features: Features) -> ModuleEncoder:
    # In fp32 on every device: scores must not depend on it.
    return load_encoder(str(run), device, features=features, precision="fp32")


def _remove_outdated(store: Path, encoder: Encoder) -> None:
    if not (store / "zarr.json").is_file():
        return
    made_by = open_cache(store).provenance
    if made_by["encoder"] == encoder.name and made_by["key"] != dict(encoder.key):
        console.say(f"{store} holds the embeddings of other weights: making it anew")
        outdated = store.with_name(f".{store.name}.{uuid.uuid4().hex}")
        store.rename(outdated)  # at once, so that an interruption leaves no half of it
        shutil.rmtree(outdated)
