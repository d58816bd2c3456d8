# SPDX-License-Identifier: Apache-2.0
"""What each part of the method is worth, on a simulated corpus: `make ablation`.

Every cell of the table is trained with several seeds and evaluated zero-shot on the same held-out videos.
Each run is a folder of its own that is resumed where it was interrupted, and skipped once it has a result.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ablation_cells import Cell, World, all_cells, named, with_pool
from ablation_table import put_into, render, render_gains

from ophclip import console
from ophclip.cache import FrameRows, build_cache, find_inputs, open_cache
from ophclip.config import load_config
from ophclip.corpus import read_corpus, write_corpus
from ophclip.corpus.simulate import simulate
from ophclip.corpus.simulate.cast import RARE, Part, cast_videos
from ophclip.corpus.simulate.vocabulary import PROCEDURES
from ophclip.evaluate import Results, evaluate
from ophclip.files import replace_file
from ophclip.models import load_model
from ophclip.pretrain import PretrainConfig, pretrain
from ophclip.video import Geometry

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "ablation.toml"
BASELINE = "video"  # what retrieval and self-supervision are added to
CORPUS_SEED = 0  # seeds of runs differ in weights, order and augmentation; all see one corpus


def main() -> None:
    """Run what is missing of the ablation and write its table."""
    options = _options()
    world = World() if options.world is None else World(**json.loads(options.world))
    cells = named(all_cells(), options.only)
    prepare(options.out, world, sorted({cell.pool for cell in cells}))
    tasks = [(cell, seed) for seed in range(options.seeds) for cell in cells]
    run = partial(run_cell, options.out, world, tuple(options.set))
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    with ProcessPoolExecutor(options.jobs, mp_context=context, initializer=_one_thread) as pool:
        waiting = {pool.submit(run, cell, seed): (cell.name, seed) for cell, seed in tasks}
        with console.progress("ablation", len(waiting), "runs") as progress:
            for done in as_completed(waiting):
                name, seed = waiting[done]
                score = done.result()["scores"]["phase_accuracy"]
                progress.note(f"{name} seed {seed}: phase accuracy {score:.3f}")
                progress.advance()
    table = write_table(options.out, all_cells(), options.table)
    print(table)


def run_cell(out: Path, world: World, settings: tuple[str, ...], cell: Cell, seed: int) -> dict[str, Any]:
    """Train and evaluate one cell with one seed in `out/cells/<name>/seed-<seed>`; return its result."""
    folder = out / "cells" / cell.name / f"seed-{seed}"
    stored = folder / "result.json"
    overrides = [*settings, *cell.settings]
    if stored.exists():
        result: dict[str, Any] = json.loads(stored.read_text())
        if result["settings"] != overrides or result["world"] != dataclasses.asdict(world):
            raise SystemExit(f"{folder} holds a run with other settings; remove it, or name another --out")
        return result
    started = time.perf_counter()
    paths = {"corpus": _corpus(out, cell.pool), "cache": out / "frames.zarr"}
    placed = [f"{key}={json.dumps(str(path))}" for key, path in paths.items()]
    config = load_config(PretrainConfig, CONFIG, [*placed, f"seed={seed}", *overrides])
    run = folder / "run"
    if not (run / "model.safetensors").exists():
        pretrain(config, run, resume=(run / "config.toml").exists())
    trained = time.perf_counter()
    results = evaluate(run, dataset="simulated", root=out / "corpus", out=folder / "evaluation")
    result = {
        "cell": cell.name,
        "seed": seed,
        "settings": overrides,
        "world": dataclasses.asdict(world),
        "scores": scores(results, run, folder / "evaluation", _cast(world)),
        "seconds": {
            "training": round(trained - started, 1),
            "all": round(time.perf_counter() - started, 1),
        },
    }
    replace_file(stored, (json.dumps(result, indent=2) + "\n").encode())
    return result


def scores(results: Results, run: Path, evaluation: Path, cast: dict[str, Part]) -> dict[str, float]:
    """Return the scores of a run: all test videos, and those of operations that are rare in narration."""
    phase, instrument = results.numbers["phase"], results.numbers["instrument"]
    by_video = {name: value for name, value in phase["by_video"].items() if value is not None}
    is_rare = {name: cast[name].procedure in RARE for name in phase["by_video"]}
    named = _operations(run, evaluation, list(is_rare), cast)
    return {
        "phase_accuracy": phase["accuracy.per_video_mean"],
        "phase_accuracy_rare": _mean([v for name, v in by_video.items() if is_rare[name]]),
        "phase_accuracy_common": _mean([v for name, v in by_video.items() if not is_rare[name]]),
        "phase_f1": phase["f1.per_video_mean.present"],
        "instrument_map": instrument["map.pooled.defined_classes"],
        "operation_accuracy": _mean([float(hit) for hit in named.values()]),
        "operation_accuracy_rare": _mean([float(hit) for name, hit in named.items() if is_rare[name]]),
    }


def _operations(run: Path, evaluation: Path, videos: list[str], cast: dict[str, Part]) -> dict[str, bool]:
    """Return for each video whether its embedding is nearest to the name of the operation that it shows."""
    model, cache = load_model(run), open_cache(evaluation / "features.zarr")
    with torch.inference_mode():
        names = F.normalize(model.embed_text([term.name for term in PROCEDURES]).float(), dim=1).numpy()
    found = {}
    for video in videos:
        embedding = np.asarray(cache[video], dtype=np.float32).mean(axis=0)
        found[video] = PROCEDURES[int((names @ embedding).argmax())].key == cast[video].procedure
    return found


def write_table(out: Path, cells: list[Cell], document: Path | None) -> str:
    """Write `out/ablation.json` and the tables of all results that there are; return the tables."""
    stored = (json.loads(path.read_text()) for path in sorted(out.glob("cells/*/seed-*/result.json")))
    results: dict[str, list[Any]] = {}
    for result in stored:
        results.setdefault(result["cell"], []).append(result)
    replace_file(out / "ablation.json", (json.dumps(results, indent=2) + "\n").encode())
    [baseline] = named(cells, [BASELINE])
    table = f"{render(cells, results)}\n\n{render_gains(cells, results, baseline)}"
    if document is not None:
        put_into(document, table)
    return table


def prepare(out: Path, world: World, pools: list[float]) -> None:
    """Draw the corpus, cache its frames, and write a corpus for each smaller pool; what is there is kept."""
    corpus = out / "corpus"
    if not (corpus / "videos.csv").exists():
        console.say("drawing eye surgery")
        simulate(
            corpus,
            narrated=world.narrated,
            silent=world.silent,
            test=world.test,
            seconds=world.seconds,
            size=world.size,
            seed=CORPUS_SEED,
        )
    encoder = FrameRows(Geometry(world.frame, world.frame, "crop"))
    build_cache(find_inputs([corpus]), out / "frames.zarr", encoder=encoder, fps=world.fps)
    for pool in pools:
        folder = _corpus(out, pool)
        if not (folder / "videos.csv").exists():
            folder.mkdir(parents=True)
            write_corpus(with_pool(read_corpus(corpus), pool), folder)


def _corpus(out: Path, pool: float) -> Path:
    return out / "corpus" if pool == 1 else out / f"corpus-silent-{pool:g}"


def _cast(world: World) -> dict[str, Part]:
    parts = cast_videos(world.narrated, world.silent, world.test, CORPUS_SEED)
    return {part.video_id: part for part in parts}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _one_thread() -> None:
    torch.set_num_threads(1)  # the runs are the parallelism
    console.set_quiet(True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".ablation"), help="folder of all runs")
    parser.add_argument("--table", type=Path, help="document whose table is written anew")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time")
    parser.add_argument("--only", nargs="*", default=[], metavar="CELL", help="cells to run; default: all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every run")
    parser.add_argument("--world", metavar="JSON", help="another simulated corpus, as JSON")
    options = parser.parse_args()
    options.out = options.out.absolute()
    return options


if __name__ == "__main__":
    sys.exit(main())
