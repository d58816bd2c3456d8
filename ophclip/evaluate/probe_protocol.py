# SPDX-License-Identifier: Apache-2.0
"""Few-shot and linear-probe protocols: a result for each number of videos and seed, and their summary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ophclip import console
from ophclip.cache import FeatureCache
from ophclip.errors import UsageError
from ophclip.evaluate.datasets import Dataset, load_dataset
from ophclip.evaluate.drawn import RESAMPLES, SEED
from ophclip.evaluate.facts import data_facts
from ophclip.evaluate.features import embed_dataset
from ophclip.evaluate.predictions import Predictions
from ophclip.evaluate.probing import C_GRID, CHOSEN_BY, Labelled, Probing
from ophclip.evaluate.results import Results
from ophclip.evaluate.rows import WINDOW_S, Pooling, PoolOver, check_pooling, rows_of
from ophclip.evaluate.series import write_series
from ophclip.evaluate.splits import Split, classes_shown, few_shots, some_percent, split_of
from ophclip.evaluate.zero_shot import unit_rows
from ophclip.files import replace_file
from ophclip.models import Features
from ophclip.video import Decoder

ProbeProtocol = Literal["few-shot", "linear-probe"]
SHOTS, PERCENTS = (1, 4, 16), (1.0, 10.0, 100.0)
VERSION = 1


@dataclass(frozen=True)
class _Setting:
    """One probe: how much it learns from, under which seed, and from which videos."""

    name: str
    number: float
    seed: int
    train: list[str]


def probe(
    run: Path,
    *,
    dataset: str,
    root: Path,
    protocol: ProbeProtocol = "linear-probe",
    out: Path | None = None,
    shots: Sequence[int] = SHOTS,
    percents: Sequence[float] = PERCENTS,
    seeds: int = 3,
    features: Features = "projected",
    standardize: bool = True,
    c_grid: Sequence[float] = C_GRID,
    split_seed: int = 0,
    keep_background: bool = False,
    pool_over: PoolOver | None = None,
    window_s: float = WINDOW_S,
    resamples: int = RESAMPLES,
    bootstrap_seed: int = SEED,
    cache: Path | None = None,
    decoder: Decoder = "auto",
    device: str = "cpu",
) -> Results:
    """Fit logistic regressions on the features of a run, and write a result for each setting and seed.

    `few-shot` learns from `shots` videos a class, `linear-probe` from `percents` of the training videos,
    each drawn under `seeds` seeds; C is chosen on validation videos from `c_grid`. The split, drawn by video
    where the dataset has none, goes into `out/split.json`, results into `out/<setting>/seed-<n>`, their
    means into `out/metrics.json`. `out` is `run/evaluate-<dataset>-<protocol>` if not given.

    Raises:
        UsageError: the run, the dataset or a setting is not what it should be.
        OphclipError: a video of the dataset cannot be read; it is named.
    """
    _check(shots, percents, seeds, c_grid)
    everything = load_dataset(dataset, root, keep_background=keep_background, split="all")
    pooling = Pooling("emb", pool_over or ("clip" if everything.unit == "clip" else "frame"), window_s)
    check_pooling(everything, pooling)
    scored = load_dataset(dataset, root, keep_background=keep_background)
    split = split_of(everything, scored, seed=split_seed)
    out = out or run / f"evaluate-{dataset}-{protocol}"
    out.mkdir(parents=True, exist_ok=True)
    replace_file(out / "split.json", (json.dumps(split.as_dict(), indent=2) + "\n").encode())
    store = cache or out / ("features.zarr" if features == "projected" else f"features-{features}.zarr")
    embedded = embed_dataset(run, everything, store, features=features, decoder=decoder, device=device)
    items = _labelled(everything, embedded, pooling, features)
    settings = _settings(protocol, everything, split, shots if protocol == "few-shot" else percents, seeds)
    probing = Probing(len(everything.phase_names), len(everything.instrument_names), c_grid, standardize)
    test = replace(scored, items=[item for item in everything.items if item.video_id in set(split.test)])
    facts: dict[str, Any] = {
        "protocol": f"{protocol}/{pooling.name}/{VERSION}",
        **data_facts(test, embedded, [items[name].rows for name in split.test]),
        **pooling.facts(),
        "prompts": None,
        "instrument_rule": "probe_sigmoid",
        "features": features,
        "standardize": standardize,
        "c_grid": list(c_grid),
        "c_chosen_by": CHOSEN_BY,
        "split": {"source": split.source, "seed": split.seed, "val_videos": len(split.val)},
        "bootstrap": {"resamples": resamples, "seed": bootstrap_seed},
    }
    return write_series(out, _predictions(settings, test, items, probing, split, facts))


def _check(shots: Sequence[int], percents: Sequence[float], seeds: int, c_grid: Sequence[float]) -> None:
    for name, values, most in (("shots", shots, np.inf), ("percents", percents, 100), ("C", c_grid, np.inf)):
        wrong = [value for value in values if not 0 < value <= most or not np.isfinite(value)]
        if wrong or not values:
            raise UsageError(
                f"{name} must be positive{' and at most 100' if most == 100 else ''}, got {list(values)}",
                remedy="pass 1,4,16 say",
            )
    if seeds < 1:
        raise UsageError(f"there must be a seed, got {seeds}", remedy="pass --seeds 3, say")


def _labelled(
    data: Dataset, embedded: FeatureCache, pooling: Pooling, features: Features
) -> dict[str, Labelled]:
    items = {}
    for item in data.items:
        rows = rows_of(item, data, embedded.num_frames(item.video_id), pooling)
        pooled = rows.pooled(np.asarray(embedded[item.video_id], dtype=np.float32))
        if rows.spans is not None and features == "projected":
            pooled = unit_rows(pooled)
        items[item.video_id] = Labelled(rows, pooled)
    return items


def _settings(
    protocol: ProbeProtocol, data: Dataset, split: Split, numbers: Sequence[float], seeds: int
) -> list[_Setting]:
    shown = {item.video_id: classes_shown(item) for item in data.items if item.video_id in set(split.train)}
    settings = []
    for number in sorted(set(numbers)):
        for seed in range(seeds):
            if protocol == "few-shot":
                name, train = f"shots-{number:g}", few_shots(shown, int(number), seed=seed)
            else:
                name, train = f"percent-{number:g}", some_percent(split.train, number, seed=seed)
            if seed and len(train) == len(split.train):
                break  # all of them: another seed would be the same probe
            settings.append(_Setting(name, number, seed, train))
    return settings


def _predictions(
    settings: Sequence[_Setting],
    test: Dataset,
    items: Mapping[str, Labelled],
    probing: Probing,
    split: Split,
    facts: dict[str, Any],
) -> Iterator[Predictions]:
    with console.progress("probe", len(settings), "probes") as bar:
        for setting in settings:
            fitted = probing.fit(items, setting.train, split.val)
            own = {
                "setting": setting.name,
                "seed": setting.seed,
                "train_videos": setting.train,
                "train_rows": sum(len(items[name].rows.times_s) for name in setting.train),
                "chosen": fitted.chosen,
                "classes_without_training": _unseen(test, [items[name] for name in setting.train]),
            }
            videos = [fitted.predict(name, items[name]) for name in split.test]
            yield Predictions({**facts, **own}, test.phase_names, test.instrument_names, videos)
            bar.advance()


def _unseen(data: Dataset, learnt: Sequence[Labelled]) -> dict[str, list[str]]:
    """Name the classes that the training videos never show: they cannot be predicted."""
    phases = [part.rows.phases for part in learnt if part.rows.phases is not None]
    tools = [part.rows.instruments for part in learnt if part.rows.instruments is not None]
    seen = set(np.concatenate(phases).tolist()) if phases else set()
    shown = set(np.flatnonzero(np.concatenate(tools).any(axis=0)).tolist()) if tools else set()
    return {
        "phases": [name for label, name in enumerate(data.phase_names) if label not in seen],
        "instruments": [name for column, name in enumerate(data.instrument_names) if column not in shown],
    }
