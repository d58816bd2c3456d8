# SPDX-License-Identifier: Apache-2.0
"""The whole pipeline on a simulated corpus: simulate, cache, pretrain, evaluate, search, report.

Every stage is the one that a user runs by hand; `demo.toml` beside this file configures the training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ophclip import console
from ophclip.cache import FrameRows, build_cache, find_inputs
from ophclip.config import load_config
from ophclip.corpus.simulate import simulate
from ophclip.errors import UsageError
from ophclip.evaluate import Results, evaluate
from ophclip.explorer.search import Moment, search
from ophclip.files import replace_file
from ophclip.pretrain import PretrainConfig, pretrain
from ophclip.video import Geometry

CONFIG = Path(__file__).with_name("demo.toml")
SETTINGS = "demo.json"
CACHE_FPS = 2.0
FRAME_SIZE = 64  # pixels a side of the cached frames
SENTENCE = "the phaco probe breaks up the nucleus of the lens"
NUM_MOMENTS = 5


@dataclass(frozen=True)
class DemoWorld:
    """The simulated corpus of a demo: numbers of videos, their length, their width and the seed."""

    narrated: int = 112
    silent: int = 40
    test: int = 24
    seconds: int = 30
    size: int = 160
    seed: int = 0


@dataclass(frozen=True)
class DemoResult:
    """What a demo found; `stages` holds the seconds that each stage took."""

    results: Results
    moments: list[Moment]
    stages: dict[str, float]
    out: Path

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON types."""
        return {
            **self.results.summary(),
            "seconds": round(sum(self.stages.values()), 1),
            "stages": self.stages,
            "search": {"text": SENTENCE, "moments": [moment.as_dict() for moment in self.moments]},
            "out": str(self.out),
            "report": str(self.results.report),
        }


def run_demo(out: Path, world: DemoWorld, *, overrides: Sequence[str] = ()) -> DemoResult:
    """Run every stage into the folder `out`; called again with the same settings, it goes on.

    `overrides` are `key=value` settings of the training (see `PretrainConfig`).

    Raises:
        UsageError: `out` holds something else, or a demo with other settings.
    """
    _claim(out, world, overrides)
    corpus, frames, run = out / "corpus", out / "frames.zarr", out / "run"
    paths = [f"corpus={json.dumps(str(corpus))}", f"cache={json.dumps(str(frames))}", f"seed={world.seed}"]
    config = load_config(PretrainConfig, CONFIG, [*paths, *overrides])
    stages: dict[str, float] = {}
    with _stage(stages, "simulate", "1/5 drawing eye surgery"):
        if not (corpus / "videos.csv").exists():
            simulate(corpus, **asdict(world))
    with _stage(stages, "cache", "2/5 decoding it once into a cache"):
        geometry = Geometry(FRAME_SIZE, FRAME_SIZE, "crop")
        build_cache(find_inputs([corpus]), frames, encoder=FrameRows(geometry), fps=CACHE_FPS)
    with _stage(stages, "pretrain", "3/5 pretraining from scratch"):
        if not (run / "model.safetensors").exists():
            pretrain(config, run, resume=(run / "config.toml").exists())
    with _stage(stages, "evaluate", "4/5 zero-shot evaluation on held-out videos"):
        results = evaluate(run, dataset="simulated", root=corpus, out=out / "evaluation")
    with _stage(stages, "search", "5/5 searching the silent videos"):
        moments = search(run, SENTENCE, NUM_MOMENTS)
    return DemoResult(results, moments, stages, out)


@contextmanager
def _stage(stages: dict[str, float], name: str, talk: str) -> Iterator[None]:
    console.say(talk)
    start = time.perf_counter()
    yield
    stages[name] = round(time.perf_counter() - start, 1)


def _claim(out: Path, world: DemoWorld, overrides: Sequence[str]) -> None:
    settings = {**asdict(world), "overrides": list(overrides)}
    path = out / SETTINGS
    if path.exists():
        if json.loads(path.read_text()) != settings:
            raise UsageError(f"{out} holds a demo with other settings", remedy="name another --out")
        return
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no demo", remedy="name another --out")
    out.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(settings, indent=2).encode())
