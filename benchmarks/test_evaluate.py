# SPDX-License-Identifier: Apache-2.0
"""Ten hours of stored embeddings zero-shot: from a cache to every number of metrics.json.

The peer computes the same headline numbers as a script would, with scikit-learn, a video after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SCALE
from numpy.typing import NDArray
from probe_cases import probe_case
from torch import Tensor

from ophclip.bench import Case, Contest, Result, Target
from ophclip.cache import FeatureCache, open_cache
from ophclip.cache.build import provenance_of
from ophclip.cache.commit import CacheWriter
from ophclip.evaluate.predictions import Predictions
from ophclip.evaluate.protocol import predict
from ophclip.evaluate.results import numbers_of
from ophclip.evaluate.rows import Pooling, Rows
from ophclip.evaluate.zero_shot import ClassTexts
from ophclip.models import ModuleEncoder
from ophclip.video import Geometry

SECTION = "evaluation of ten hours at one frame a second"
IS_SMOKE = SCALE == "smoke"
VIDEOS, ROWS, DIM = (6, 50, 64) if IS_SMOKE else (60, 600, 768)
PHASES, INSTRUMENTS = 12, 12
RESAMPLES = 20 if IS_SMOKE else 1000
Labels = NDArray[np.int64]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    """Random unit rows, as a run's encoder would have stored them."""
    path, names = tmp_path_factory.mktemp("bench") / "features.zarr", [f"v{n:03d}" for n in range(VIDEOS)]
    encoder = ModuleEncoder("run", lambda x: x, dim=DIM, geometry=Geometry(96, 96), weights_hash="none")
    provenance = provenance_of(encoder, fps=1.0, decoder="none", decoder_version="1")
    with CacheWriter(path, provenance) as writer:
        for number, name in enumerate(names):
            attributes: Any = {
                "video_id": name,
                "source_name": name,
                "source_size": 0,
                "source_sha256": name,
                "data_sha256": "",
                "decoder": "none",
                "time_base": "1",
                "start": "0",
                "pts": list(range(ROWS)),
                "frame_times_s": [float(row) for row in range(ROWS)],
            }
            rows = _unit_rows(ROWS, number).astype(np.float16)
            writer.store(name, [rows], attributes, source_path=name, source_mtime_ns=0)
    return open_cache(path)


def _unit_rows(count: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, DIM), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _labels(number: int) -> Rows:
    """Phases that last a minute or so, and instruments that are seen a tenth of the time."""
    rng = np.random.default_rng(1000 + number)
    phases = np.repeat(rng.integers(0, PHASES, ROWS // 50 + 1), 50)[:ROWS]
    present = (rng.random((ROWS, INSTRUMENTS)) < 0.1).astype(np.int64)
    return Rows(np.arange(ROWS, dtype=np.float64), phases, present)


def zero_shot(stored: FeatureCache, resamples: int) -> Contest:
    """Return our run, from the cache to the numbers, and what no run can be faster than."""
    texts = ClassTexts(_unit_rows(PHASES, 1), _unit_rows(INSTRUMENTS, 2), _unit_rows(INSTRUMENTS, 3))
    labels = {name: _labels(number) for number, name in enumerate(stored.ids)}
    facts = {
        "protocol": "zero-shot/frame/1",
        "dataset": "drawn",
        "fps": 1.0,
        "unit": "second",
        "bootstrap": {"resamples": resamples, "seed": 0},
    }
    names = [f"class {n}" for n in range(max(PHASES, INSTRUMENTS))]

    def predicted() -> Predictions:
        videos = [predict(name, rows, stored, texts, Pooling()) for name, rows in labels.items()]
        return Predictions(facts, names[:PHASES], names[:INSTRUMENTS], videos)

    def ours() -> Tensor:
        numbers = numbers_of(predicted())
        phase, instrument = numbers["phase"], numbers["instrument"]
        return torch.tensor(
            [
                phase["accuracy.per_video_mean"],
                phase["f1.per_video_mean.present"],
                phase["f1.pooled.present"],
                instrument["map.pooled.defined_classes"],
            ]
        )

    def figures() -> dict[str, float]:
        start = time.perf_counter()
        ours()
        return {"frames/s": VIDEOS * ROWS / (time.perf_counter() - start)}

    sentences = PHASES + 2 * INSTRUMENTS
    return Contest(
        ours=ours,
        peers={"scikit-learn": lambda: lambda: _with_scikit_learn(predicted())} if not resamples else {},
        flops=2.0 * VIDEOS * ROWS * DIM * sentences,
        bytes_read=2.0 * VIDEOS * ROWS * DIM,  # the stored rows, once
        rounds=5,
        tolerance=1e-5,
        figures=figures,
    )


def _with_scikit_learn(predictions: Predictions) -> Tensor:
    from sklearn import metrics

    truth: list[Labels] = [video.true_phases for video in predictions.videos]  # type: ignore[misc]
    said = [video.phases for video in predictions.videos]
    present = np.concatenate([video.true_instruments for video in predictions.videos])  # type: ignore[misc]
    scores = np.concatenate([video.instrument_scores for video in predictions.videos])
    pairs = list(zip(truth, said, strict=True))
    return torch.tensor(
        [
            np.mean([metrics.accuracy_score(*pair) for pair in pairs]),
            np.mean([metrics.f1_score(*pair, average="macro") for pair in pairs]),
            metrics.f1_score(np.concatenate(truth), np.concatenate(said), average="macro"),
            metrics.average_precision_score(present, scores, average="macro"),
        ]
    )


@pytest.mark.parametrize(
    ("resamples", "target"),
    [(0, Target("frames/s", least=36_000)), (RESAMPLES, Target("frames/s", least=7_200))],
    ids=["without intervals", "with intervals"],
)
def test_evaluate(
    run_case: Callable[[Case], Result], stored: FeatureCache, resamples: int, target: Target
) -> None:
    name = f"zero-shot {VIDEOS * ROWS} x {DIM}, {resamples} resamples"
    targets = () if IS_SMOKE else (target,)
    assert run_case(Case(name, SECTION, lambda _: zero_shot(stored, resamples), targets)).case == name


def test_probe(run_case: Callable[[Case], Result]) -> None:
    case = probe_case("few-shot and linear probes", 16 if IS_SMOKE else 64, ROWS, DIM)
    assert run_case(case).case == case.name
