# SPDX-License-Identifier: Apache-2.0
"""The zero-shot protocol from a run and a dataset to a folder of results."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ophclip.cache import CacheInput, FeatureCache
from ophclip.errors import OphclipError, UsageError
from ophclip.evaluate.datasets import Dataset, Item, load_dataset
from ophclip.evaluate.features import embed_videos
from ophclip.evaluate.prompts import PromptFile, Variant, load_prompts
from ophclip.evaluate.scores import VideoPrediction, instrument_scores, num_unscored, phase_scores
from ophclip.evaluate.zero_shot import class_probabilities, embed_classes, presence_scores
from ophclip.files import replace_file
from ophclip.models import DualEncoder, load_model
from ophclip.video import Decoder

PROTOCOL = "zero-shot/frame/1"
ROUNDED = 6  # decimals of a published number: more would differ between machines


@dataclass(frozen=True)
class Results:
    """The numbers of an evaluation (also in `metrics.json`) and the files beside them."""

    numbers: dict[str, Any]
    out: Path

    @property
    def report(self) -> Path:
        """The HTML report: one file that works offline."""
        return self.out / "report.html"

    def summary(self) -> dict[str, Any]:
        """Return the headline numbers under the names of the command line's JSON."""
        phase, instrument = self.numbers.get("phase", {}), self.numbers.get("instrument", {})
        return {
            "phase_accuracy": phase.get("accuracy.per_video_mean"),
            "phase_chance": phase.get("accuracy.chance_uniform"),
            "phase_majority": phase.get("accuracy.chance_majority"),
            "phase_f1": phase.get("f1.per_video_mean.present"),
            "instrument_map": instrument.get("map.pooled.defined_classes"),
            "instrument_map_chance": instrument.get("map.chance_prevalence"),
            "instrument_fpr": instrument.get("fpr.micro.prompt_softmax"),
        }


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
    predictions = _predict(model, data, cache, prompt_file, variant)
    numbers = _numbers(data, predictions, prompt_file, variant, cache)
    replace_file(out / "metrics.json", (json.dumps(numbers, indent=2, allow_nan=False) + "\n").encode())
    _save_predictions(out / "predictions.npz", predictions)
    results = Results(numbers, out)
    _report(results, data, predictions)
    return results


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
                item=item,
                times_s=np.arange(num_frames) / data.fps,
                phase_probabilities=class_probabilities(frames, phase_classes),
                instrument_cosines=cosines,
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


def _numbers(
    data: Dataset,
    predictions: Sequence[VideoPrediction],
    prompt_file: PromptFile,
    variant: Variant,
    cache: FeatureCache,
) -> dict[str, Any]:
    numbers: dict[str, Any] = {
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
        "videos": len(predictions),
        "frames": sum(len(prediction.times_s) for prediction in predictions),
        "frames_without_scored_phase": num_unscored(predictions),
        "fps": data.fps,
        "notes": data.notes,
    }
    if data.phase_names:
        numbers["phase"] = phase_scores(data, predictions)
    if data.instrument_names:
        numbers["instrument"] = instrument_scores(data, predictions)
    rounded: dict[str, Any] = _rounded(numbers)
    return rounded


def _data_hash(data: Dataset) -> str:
    """Hash what is scored: ids, labels and class names, not where the files lie or in which order."""
    digest = hashlib.sha256(json.dumps([data.phase_names, data.instrument_names, data.fps]).encode())
    for item in sorted(data.items, key=lambda item: item.video_id):
        labels = [None if part is None else part.tolist() for part in (item.phases, item.instruments)]
        digest.update(json.dumps([item.video_id, *labels]).encode())
    return digest.hexdigest()


def _save_predictions(path: Path, predictions: Sequence[VideoPrediction]) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for prediction in predictions:
        name = prediction.item.video_id
        arrays[f"{name}/times_s"] = prediction.times_s
        arrays[f"{name}/phase_probabilities"] = prediction.phase_probabilities
        arrays[f"{name}/instrument_cosines"] = prediction.instrument_cosines
        arrays[f"{name}/instrument_probabilities"] = prediction.instrument_probabilities
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    replace_file(path, buffer.getvalue())


def _report(results: Results, data: Dataset, predictions: Sequence[VideoPrediction]) -> None:
    from ophclip.evaluate.report import render_report

    html, figures = render_report(results.numbers, data, predictions)
    plots = results.out / "plots"
    plots.mkdir(exist_ok=True)
    for name, svg in figures.items():
        replace_file(plots / f"{name}.svg", svg.encode())
    replace_file(results.report, html.encode())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, ROUNDED)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
