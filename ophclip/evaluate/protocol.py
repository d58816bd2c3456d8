# SPDX-License-Identifier: Apache-2.0
"""The zero-shot protocol from a run and a dataset to a folder of results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from ophclip.cache import CacheInput, FeatureCache
from ophclip.errors import OphclipError, UsageError
from ophclip.evaluate.datasets import Dataset, Item, load_dataset
from ophclip.evaluate.features import embed_videos
from ophclip.evaluate.predictions import Predictions, VideoPrediction
from ophclip.evaluate.prompts import PromptFile, Variant, load_prompts
from ophclip.evaluate.results import Results, write_results
from ophclip.evaluate.zero_shot import class_probabilities, embed_classes, presence_scores
from ophclip.models import DualEncoder, load_model
from ophclip.video import Decoder

PROTOCOL = "zero-shot/frame/1"


def evaluate(
    run: Path,
    *,
    dataset: str,
    root: Path,
    out: Path | None = None,
    prompts: str | None = None,
    variant: Variant = "all",
    keep_background: bool = False,
    decoder: Decoder = "auto",
    device: str = "cpu",
) -> Results:
    """Evaluate a run zero-shot and write metrics.json, predictions.npz, plots and report.html.

    Frames are decoded and encoded at the dataset's label rate into `out/features.zarr`, which is reused.
    `out` is `run/evaluate-<dataset>` if not given.

    Raises:
        UsageError: the run, the dataset, its folder or the prompts are not what they should be.
        OphclipError: a video of the dataset cannot be read; it is named.
    """
    model = load_model(run, device)
    data = load_dataset(dataset, root, keep_background=keep_background)
    prompt_file = load_prompts(prompts or data.prompts)
    out = out or run / f"evaluate-{dataset}"
    out.mkdir(parents=True, exist_ok=True)
    cache = _embed(run, data, out, decoder, device)
    facts = _facts(data, prompt_file, variant, cache)
    videos = _predict(model, data, cache, prompt_file, variant)
    return write_results(out, Predictions(facts, data.phase_names, data.instrument_names, videos))


def _embed(run: Path, data: Dataset, out: Path, decoder: Decoder, device: str) -> FeatureCache:
    inputs = [CacheInput(item.video_id, item.path) for item in data.items]
    cache, report = embed_videos(
        run, inputs, out / "features.zarr", fps=data.fps, decoder=decoder, device=device
    )
    if report.failed:
        video_id, reason = next(iter(report.failed.items()))
        raise OphclipError(
            f"{len(report.failed)} of {len(inputs)} videos of {data.name} cannot be read; "
            f"{video_id}: {reason}",
            remedy="mend or fetch these videos again: a score over fewer videos would not be comparable",
        )
    return cache


def _predict(
    model: DualEncoder, data: Dataset, cache: FeatureCache, prompt_file: PromptFile, variant: Variant
) -> list[VideoPrediction]:
    phase_prompts = prompt_file.for_classes("phases", data.phase_names, variant)
    instrument_prompts = prompt_file.for_classes("instruments", data.instrument_names, variant)
    phase_classes = embed_classes(model, phase_prompts.positives)
    predictions = []
    for item in data.items:
        num_frames = _num_scored(item, cache, data.fps)
        frames = np.asarray(cache[item.video_id][:num_frames], dtype=np.float32)
        cosines, presence = presence_scores(model, frames, instrument_prompts)
        predictions.append(
            VideoPrediction(
                video_id=item.video_id,
                times_s=np.arange(num_frames) / data.fps,
                true_phases=None if item.phases is None else item.phases[:num_frames],
                true_instruments=None if item.instruments is None else item.instruments[:num_frames],
                phase_probabilities=class_probabilities(frames, phase_classes),
                instrument_scores=cosines,
                instrument_probabilities=presence,
            )
        )
    return predictions


def _num_scored(item: Item, cache: FeatureCache, fps: float) -> int:
    labels = item.phases if item.phases is not None else item.instruments
    assert labels is not None
    frames = len(cache.times(item.video_id))
    if frames < len(labels) - 1 or frames == 0:
        raise UsageError(
            f"video {item.video_id!r} lasts {frames / fps:g} s, its labels {len(labels) / fps:g} s",
            remedy="fetch the video again: it is shorter than its labels",
        )
    return min(frames, len(labels))


def _facts(data: Dataset, prompt_file: PromptFile, variant: Variant, cache: FeatureCache) -> dict[str, Any]:
    return {
        "protocol": PROTOCOL,
        "dataset": data.name,
        "data_sha256": _data_hash(data),
        "weights": cache.provenance["key"]["weights"],
        "prompts": {
            "file": prompt_file.name,
            "version": prompt_file.version,
            "sha256": prompt_file.sha256,
            "variant": variant,
        },
        "fps": data.fps,
        "unit": data.unit,
        "source": data.source,
        "licence": data.licence,
        "notes": data.notes,
    }


def _data_hash(data: Dataset) -> str:
    """Hash what is scored: ids, labels and class names, not where the files lie or in which order."""
    digest = hashlib.sha256(json.dumps([data.phase_names, data.instrument_names, data.fps]).encode())
    for item in sorted(data.items, key=lambda item: item.video_id):
        labels = [None if part is None else part.tolist() for part in (item.phases, item.instruments)]
        digest.update(json.dumps([item.video_id, *labels]).encode())
    return digest.hexdigest()
