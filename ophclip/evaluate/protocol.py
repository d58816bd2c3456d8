# SPDX-License-Identifier: Apache-2.0
"""The zero-shot protocol from a run and a dataset to a folder of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ophclip.cache import FeatureCache
from ophclip.errors import UsageError
from ophclip.evaluate.datasets import Dataset, load_dataset
from ophclip.evaluate.drawn import RESAMPLES, SEED
from ophclip.evaluate.facts import data_facts
from ophclip.evaluate.features import embed_dataset
from ophclip.evaluate.predictions import Predictions, VideoPrediction
from ophclip.evaluate.prompts import PromptFile, Variant, load_prompts
from ophclip.evaluate.results import Results, write_results
from ophclip.evaluate.rows import WINDOW_S, Pool, Pooling, PoolOver, Rows, check_pooling, rows_of
from ophclip.evaluate.zero_shot import ClassTexts, score_rows
from ophclip.models import DualEncoder, load_model
from ophclip.video import Decoder

VERSION = 1  # of the protocol: a change of what it computes is a new one


def evaluate(
    run: Path,
    *,
    dataset: str,
    root: Path,
    out: Path | None = None,
    prompts: str | None = None,
    variant: Variant = "all",
    keep_background: bool = False,
    pool: Pool = "emb",
    pool_over: PoolOver | None = None,
    window_s: float = WINDOW_S,
    smooth_s: float = 0.0,
    resamples: int = RESAMPLES,
    bootstrap_seed: int = SEED,
    cache: Path | None = None,
    decoder: Decoder = "auto",
    device: str = "cpu",
) -> Results:
    """Evaluate a run zero-shot and write metrics.json, predictions.npz, plots and report.html.

    Frames are decoded and encoded at the dataset's label rate into `cache`, which is reused; by default it is
    `out/features.zarr`. `out` is `run/evaluate-<dataset>` if not given. `pool_over` is by default what the
    dataset labels: clips, or single frames. With `smooth_s` > 0 there are scores of predictions averaged over
    that time beside the plain ones.

    Raises:
        UsageError: the run, the dataset, its folder, the prompts or the pooling are not what they should be.
        OphclipError: a video of the dataset cannot be read; it is named.
    """
    model = load_model(run, device)
    data = load_dataset(dataset, root, keep_background=keep_background)
    pooling = Pooling(pool, pool_over or ("clip" if data.unit == "clip" else "frame"), window_s)
    check_pooling(data, pooling)
    _check_smoothing(data, pooling, smooth_s)
    prompt_file = load_prompts(prompts or data.prompts)
    texts = _texts(model, data, prompt_file, variant)
    out = out or run / f"evaluate-{dataset}"
    out.mkdir(parents=True, exist_ok=True)
    embedded = embed_dataset(run, data, cache or out / "features.zarr", decoder=decoder, device=device)
    rows = {
        item.video_id: rows_of(item, data, embedded.num_frames(item.video_id), pooling) for item in data.items
    }
    facts: dict[str, Any] = {
        "protocol": f"zero-shot/{pooling.name}/{VERSION}",
        **data_facts(data, embedded, rows.values()),
        **pooling.facts(),
        "prompts": {
            "file": prompt_file.name,
            "version": prompt_file.version,
            "sha256": prompt_file.sha256,
            "variant": variant,
        },
        "instrument_rule": "prompt_softmax",
        "smooth_s": smooth_s,
        "bootstrap": {"resamples": resamples, "seed": bootstrap_seed},
    }
    videos = [predict(video_id, part, embedded, texts, pooling) for video_id, part in rows.items()]
    return write_results(out, Predictions(facts, data.phase_names, data.instrument_names, videos))


def predict(
    video_id: str, rows: Rows, embedded: FeatureCache, texts: ClassTexts, pooling: Pooling
) -> VideoPrediction:
    """Score the rows of one item by its stored embeddings."""
    needed = len(rows.times_s) if rows.spans is None else int(rows.spans.max(initial=0))
    frames = np.asarray(embedded[video_id][:needed], dtype=np.float32)
    found = score_rows(texts, rows, frames, pooling.pool)
    return VideoPrediction(
        video_id,
        rows.times_s,
        rows.phases,
        rows.instruments,
        found.phase_probabilities,
        found.instrument_scores,
        found.instrument_probabilities,
    )


def _texts(model: DualEncoder, data: Dataset, prompt_file: PromptFile, variant: Variant) -> ClassTexts:
    return ClassTexts.embed(
        model,
        prompt_file.for_classes("phases", data.phase_names, variant),
        prompt_file.for_classes("instruments", data.instrument_names, variant),
    )


def _check_smoothing(data: Dataset, pooling: Pooling, smooth_s: float) -> None:
    if not 0 <= smooth_s < float("inf"):
        raise UsageError(f"smooth_s must be 0 or more seconds, got {smooth_s}", remedy="pass 0 for none")
    if smooth_s and (data.unit == "picture" or pooling.over == "clip"):
        what = "pictures" if data.unit == "picture" else "clips"
        raise UsageError(f"{what} do not follow each other: they cannot be smoothed", remedy="leave it out")
