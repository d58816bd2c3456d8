# SPDX-License-Identifier: Apache-2.0
"""Training on a cache of features, beside the loop that one would write first.

That loop is a `Dataset` which reads each clip's rows through Zarr's own API (arrays kept open), a
`DataLoader`, as it comes and with two workers, the same model, the loss as open_clip publishes it, and AdamW.
Both train the same model on the same batches, in turn: some steps of one, some of the other.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from cache_read_cases import make_cache
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ophclip.bench import Case, Session, Target
from ophclip.bench.case import Contest
from ophclip.bench.loss_peers import two_matmuls
from ophclip.cache import FeatureCache, open_cache
from ophclip.corpus import Clip, Corpus, Video, write_corpus
from ophclip.models import DualEncoder
from ophclip.pretrain import PretrainConfig
from ophclip.pretrain.assembly import Parts, assemble
from ophclip.pretrain.clock import PhaseClock
from ophclip.pretrain.data import TrainingData, load_data
from ophclip.pretrain.prefetch import prefetched
from ophclip.pretrain.world import World

DIM = 768
ROWS = 760  # of a video: 12.7 minutes at a row a second, the mean of OphVL's videos
CLIPS_A_VIDEO = 40
RATIO, RATIO_WITH_WORKERS = "times a PyTorch loop", "times one with two workers"
WAITS = "% of a step that waits for data"
READS = "% of a step that reading a batch takes, behind it"
Item = tuple[int, float, float]  # a clip by number, and the window that is read of it

SPEECH = """now we make the main incision at the limbus and inject viscoelastic into the anterior chamber
then rhexis is begun with a cystotome followed by forceps hydrodissection rotates nucleus phaco tip engages
groove quadrants are emulsified cortex removed irrigation aspiration capsule polished lens unfolds in bag
centred wound hydrated no leak pupil small iris hook stained trypan blue careful posterior surge slow flow"""


def pretrain_cases(folder: Path, *, is_smoke: bool) -> list[Case]:
    """Return the cases; corpus and cache are made in `folder` when first used."""
    num_videos, batch, steps, rounds = (4, 32, 1, 1) if is_smoke else (256, 4096, 4, 2)
    workers = (0,) if is_smoke else (0, 2)
    name = f"pretrain on features, {batch} pairs a step, 4 x {DIM} each"
    targets = (Target(RATIO, least=5.0), Target(WAITS, most=10.0), Target(READS, most=10.0))
    return [
        Case(
            name,
            "training",
            lambda session: Contest(
                figures=lambda: _race(session, _made(folder, num_videos, batch), steps, rounds, workers)
            ),
            targets,
        )
    ]


def _race(
    session: Session, config: PretrainConfig, steps: int, rounds: int, workers: tuple[int, ...]
) -> dict[str, float]:
    data, clock = load_data(config), PhaseClock("cpu")
    ours, theirs = assemble(config, data, World(), clock), assemble(config, data, World(), PhaseClock("cpu"))
    _check_equal(ours, theirs, data)
    names = {number: f"ms a step, {number} workers" for number in workers}
    taken: dict[str, list[float]] = {name: [] for name in ("ours", *names.values())}
    for step in range(2 + rounds * steps):
        ours.reader.read(step)  # opens the files, tokenises: once in a run
    _our_steps(ours, range(2), clock)
    clock.seconds = dict.fromkeys(clock.seconds, 0.0)
    for number in range(rounds):
        some = range(2 + number * steps, 2 + (number + 1) * steps)
        taken["ours"].append(_our_steps(ours, some, clock))
        for peer, name in names.items():
            taken[name].append(_their_steps(theirs, data, some, peer))
    read_s = statistics.median(_timed(lambda done=step: ours.reader.read(done)) for step in range(3))
    floor_s, ours_s = _floor_s(session, config, ours.state.model), statistics.median(taken["ours"])
    ratios = {
        name: statistics.median(
            theirs / mine for theirs, mine in zip(taken[name], taken["ours"], strict=True)
        )
        for name in names.values()
    }
    total = sum(clock.seconds.values())
    shares = {f"% {name}": 100 * seconds / total for name, seconds in clock.seconds.items() if name != "data"}
    return {
        RATIO: ratios[names[workers[0]]],
        RATIO_WITH_WORKERS: ratios[names[workers[-1]]],
        WAITS: 100 * clock.seconds["data"] / total,
        READS: 100 * read_s / ours_s,
        "pairs/s": config.batch_clips / ours_s,
        "ms a step": 1000 * ours_s,
        **{name: 1000 * statistics.median(taken[name]) for name in names.values()},
        "ms floor": 1000 * floor_s,
        "% of floor": 100 * floor_s / ours_s,
        **shares,
    }


def _our_steps(parts: Parts, steps: range, clock: PhaseClock) -> float:
    """Return seconds a step."""
    begin = time.perf_counter()
    with closing(prefetched(parts.reader.read, steps)) as batches:
        clock.start()
        for batch in batches:
            clock.mark("data")
            parts.stepper.run(batch)
    return (time.perf_counter() - begin) / len(steps)


def _their_steps(parts: Parts, data: TrainingData, steps: range, workers: int) -> float:
    """Return seconds a step once it runs.

    Without the first steps, one a worker: in these they start, open the arrays, and all read at once what is
    then trained on one after the other.
    """
    batches = [_items(parts, data, step) for step in steps]
    loader = DataLoader(
        ZarrClips(data),
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_collate,
    )
    ends = [time.perf_counter()]
    for rows, texts in loader:
        parts.state.model.train()
        parts.state.optimizer.zero_grad()
        loss = _their_loss(parts.state.model, rows, texts)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parts.state.trained, 1.0)
        parts.state.optimizer.step()
        ends.append(time.perf_counter())
    left_out = workers if len(batches) > workers else 0
    return (ends[-1] - ends[left_out]) / (len(batches) - left_out)


def _their_loss(model: DualEncoder, rows: Tensor, texts: list[str]) -> Tensor:
    clips = F.normalize(model.embed_features(rows.float()).mean(dim=1), dim=1)
    return two_matmuls(clips, F.normalize(model.embed_text(texts), dim=1), model.scale)


class ZarrClips(Dataset[tuple[NDArray[Any], str]]):
    """Clips by number and window, read one by one through Zarr."""

    def __init__(self, data: TrainingData) -> None:
        self._data, self._path = data, data.cache.path
        self._arrays: dict[str, Any] = {}
        self._times = {video.video_id: data.cache.times(video.video_id) for video in data.narrated}

    def __getitem__(self, item: Item) -> tuple[NDArray[Any], str]:
        number, start, end = item
        clip = self._data.clips[number]
        times = self._times[clip.video_id]
        wanted = np.linspace(max(start, 0.0), min(end, times[-1]), 6)[1:-1]
        rows = np.maximum(np.searchsorted(times, wanted, side="right") - 1, 0)
        read = self._array(clip.video_id)[int(rows[0]) : int(rows[-1]) + 1]
        return read[rows - rows[0]], clip.text

    def _array(self, video_id: str) -> Any:
        import zarr

        if video_id not in self._arrays:
            self._arrays[video_id] = zarr.open_array(self._path / "videos" / video_id, mode="r")
        return self._arrays[video_id]


def _collate(items: list[tuple[NDArray[Any], str]]) -> tuple[Tensor, list[str]]:
    return torch.from_numpy(np.stack([rows for rows, _ in items])), [text for _, text in items]


def _items(parts: Parts, data: TrainingData, step: int) -> list[Item]:
    items, begin, end = parts.reader.windows(step)
    return list(zip(items.tolist(), begin.tolist(), end.tolist(), strict=True))


def _check_equal(ours: Parts, theirs: Parts, data: TrainingData) -> None:
    """Compare both losses of the first batch, without dropout."""
    batch = ours.reader.read(0)
    items = _items(theirs, data, 0)
    rows, texts = _collate([ZarrClips(data)[item] for item in items])
    with torch.no_grad():
        for parts in (ours, theirs):
            parts.state.model.eval()
        embedded = ours.stepper.embedder.embed(batch)
        loss = ours.stepper.loss(batch, embedded).total
        torch.testing.assert_close(_their_loss(theirs.state.model, rows, texts), loss, rtol=1e-4, atol=1e-5)


def _floor_s(session: Session, config: PretrainConfig, model: DualEncoder) -> float:
    """Return the least time of a step: its products at the rate, or its bytes at the bandwidth, here.

    Loss: the logits and two gradients. A linear layer: its output and two gradients, but one for the layer
    that reads features. Bytes: the rows, and AdamW's four arrays a weight, read, and three of them written.
    """
    batch, dim, features = config.batch_clips, config.dim, model.image_projection.in_features
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    products = sum(6 * batch * layer.in_features * layer.out_features for layer in layers)
    products += 6 * batch * batch * dim - 2 * batch * features * dim
    weights = sum(weight.numel() for weight in model.parameters())
    num_bytes = batch * config.clip_frames * features * 2 + weights * 4 * 7
    return max(products / session.rate("fp32"), num_bytes / session.bytes_per_s())


def _timed(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _made(folder: Path, num_videos: int, batch: int) -> PretrainConfig:
    """Make a corpus of narrated videos, and a cache of features that no video was decoded for."""
    path = folder / "c.zarr"
    cache = (
        open_cache(path)
        if path.exists()
        else make_cache(path, num_videos, encoder=_vision(folder), num_rows=ROWS)
    )
    write_corpus(_corpus(folder, cache), folder)
    return PretrainConfig(
        corpus=folder,
        cache=path,
        dim=DIM,
        video_steps=0,
        batch_clips=min(batch, CLIPS_A_VIDEO * num_videos // 2),
        num_retrieved=0,
        precision="fp32",
        device="cpu",
    )


def _corpus(folder: Path, cache: FeatureCache) -> Corpus:
    rng = np.random.default_rng(0)
    videos = {
        name: Video(name, folder / f"{name}.mp4", "narrated", f"case {name}", "", "train")
        for name in cache.ids
    }
    clips = []
    for name in videos:
        for number, start in enumerate(np.sort(rng.uniform(0, ROWS - 12, CLIPS_A_VIDEO)).tolist()):
            words = " ".join(rng.choice(SPEECH.split(), rng.integers(12, 21)))
            clips.append(Clip(f"{name}-{number}", name, start, start + 8.0, f"{words} {name} {number}"))
    return Corpus(folder, videos, clips)


def _vision(folder: Path) -> str:
    """Make a visual tower with features of the cache's length; it is never run."""
    from transformers import ViTConfig, ViTModel

    path = folder / "vision"
    shape = {"hidden_size": DIM, "num_hidden_layers": 1, "intermediate_size": 64, "image_size": 32}
    ViTModel(ViTConfig(**shape, num_attention_heads=12)).save_pretrained(path)
    return str(path)
