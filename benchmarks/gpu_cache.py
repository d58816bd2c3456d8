# SPDX-License-Identifier: Apache-2.0
"""How fast a cache is built on a GPU: decoding by resolution, encoding, whole builds, and their memory.

The last line on standard output is one JSON object. `--device cpu` runs the same on VP9 with DALI's CPU
decoder, at sizes that say nothing: it shows that the path works. Exit code 77: DALI or the GPU is not here.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ophclip import console
from ophclip.cache import CacheInput, Encoder, build_cache
from ophclip.cache.encoder import default_batch_size, encode, side_by_side, source_for
from ophclip.models import load_encoder
from ophclip.video import plan_sampling, probe, write_video
from ophclip.video.decode_dali import is_installed
from ophclip.video.encode import VideoCodec

NOT_AVAILABLE = 77
RATE = 25
SIZES = {"480p": (854, 480), "720p": (1280, 720), "1080p": (1920, 1080), "2160p": (3840, 2160)}
SMOKE_SIZES = {"64x48": (64, 48)}
PIXELS = 500 * 1280 * 720  # of a whole video: one core takes half a minute to write it
BUILT = "720p"  # whose copies are built into a cache
NUM_COPIES, SMOKE_COPIES = 64, 4


def write(path: Path, size: tuple[int, int], codec: VideoCodec, num_frames: int) -> Path:
    """Write a video in which everything moves and nothing repeats, a key frame each two seconds."""
    width, height = size
    rng = np.random.default_rng(3)
    field = rng.integers(0, 256, (height + 256, width + 256, 3), dtype=np.uint8)
    field[: height + 200] //= 2

    def frames() -> Iterator[np.ndarray]:
        for number in range(num_frames):
            x, y = 3 * number % 256, 2 * number % 256
            yield field[y : y + height, x : x + width]

    write_video(path, frames(), RATE, codec, keyframe_interval=2 * RATE)
    return path


@contextmanager
def gpu_memory(device: str) -> Iterator[dict[str, float]]:
    """Measure the most memory in use on a GPU meanwhile, of all processes, in MiB; nothing on a CPU."""
    found: dict[str, float] = {}
    if not device.startswith("cuda"):
        yield found
        return
    free, total = torch.cuda.mem_get_info(device)
    before, least, done = free, [free], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            least[0] = min(least[0], torch.cuda.mem_get_info(device)[0])

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield found
    finally:
        done.set()
        watching.join()
    found |= {"more_mib": (before - least[0]) / 2**20, "all_mib": (total - least[0]) / 2**20}


def decode_rate(encoder: Encoder, video: Path, device: str, lanes: int) -> dict[str, Any]:
    """Frames a second that come decoded, scaled and cut, from `lanes` pipelines side by side: every frame."""
    info = probe(video)
    plan = plan_sampling(info, RATE)

    def read() -> None:
        source = source_for(encoder, "dali", device, batch_size=default_batch_size(device))
        for frames in source.read(info, plan):
            assert len(frames)

    read()  # the first pipeline also loads libraries
    threads = [threading.Thread(target=read) for _ in range(lanes)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    return {"codec": info.codec, "frames_per_s": lanes * len(plan) / seconds}


def encode_rate(encoder: Encoder, device: str, batches: int) -> dict[str, Any]:
    """Frames a second through the encoder, from frames that lie on its device."""
    size, geometry = default_batch_size(device), encoder.geometry
    frames = torch.zeros((size, geometry.height, geometry.width, 3), dtype=torch.uint8, device=device)
    encode(encoder, frames)
    start = time.perf_counter()
    for _ in range(batches):
        encode(encoder, frames)  # which returns when its rows are in host memory
    return {"batch": size, "frames_per_s": batches * size / (time.perf_counter() - start)}


def build_rate(
    encoder: Encoder, videos: Sequence[Path], out: Path, device: str, engines: int
) -> dict[str, Any]:
    """Seconds of video a second of a whole build in this process, at one frame a second, and its memory."""
    shutil.rmtree(out, ignore_errors=True)
    inputs = [CacheInput(path.stem, path) for path in videos]
    with gpu_memory(device) as memory:
        report = build_cache(
            inputs, out, encoder=encoder, fps=1, decoder="dali", device=device, engines=engines
        )
    if report.failed:
        raise RuntimeError(f"{len(report.failed)} videos failed: {next(iter(report.failed.values()))}")
    rate = report.num_frames / report.seconds
    return {"videos": len(videos), "video_s_per_s": rate, "shares": report.shares, **memory}


class Figures:
    """What was measured so far; past the budget nothing new is begun, and what is left out is named."""

    def __init__(self, device: str, encoder: Encoder, budget_s: float) -> None:
        self._end = time.perf_counter() + budget_s
        self.found: dict[str, Any] = {"device": device, "encoder": encoder.name, "key": dict(encoder.key)}
        self.found |= {"figures": {}, "left_out": []}

    def add(self, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        if time.perf_counter() > self._end:
            self.found["left_out"].append(name)
        else:
            console.say(name)
            self.found["figures"][name] = measure()


def measure_all(figures: Figures, encoder: Encoder, device: str, folder: Path, is_smoke: bool) -> None:
    """Measure encoding, whole builds, then decoding, the largest pictures last."""
    on_gpu = device.startswith("cuda")
    codec: VideoCodec = "h264" if on_gpu else "vp9"
    lanes = sorted({1, side_by_side(encoder, "dali", device, None)}) if on_gpu else [1, 2]
    sizes = SMOKE_SIZES if is_smoke else SIZES
    figures.add("encode", partial(encode_rate, encoder, device, 2 if is_smoke else 40))
    videos = {name: folder / f"{name}.mp4" for name in sizes}
    built = videos[next(iter(sizes)) if is_smoke else BUILT]
    num_frames = 50 if is_smoke else PIXELS // math.prod(SIZES[BUILT])
    write(built, sizes[built.stem], codec, num_frames)
    copies = [folder / f"copy{number:03}.mp4" for number in range(SMOKE_COPIES if is_smoke else NUM_COPIES)]
    for path in copies:
        shutil.copy(built, path)
    for count in lanes:
        build = partial(build_rate, encoder, copies, folder / "c.zarr", device, count)
        figures.add(f"build x {count}", build)
    for name, size in sizes.items():
        if not videos[name].exists():
            write(videos[name], size, codec, max(50, PIXELS // math.prod(size)))
        for count in lanes:
            figures.add(
                f"decode {name} x {count}", partial(decode_rate, encoder, videos[name], device, count)
            )


def random_vit(folder: Path) -> str:
    """Save a ViT-B/16 of random weights, and return what `load_encoder` takes for it."""
    import transformers

    transformers.ViTModel(transformers.ViTConfig()).save_pretrained(folder / "vit")
    return str(folder / "vit")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--encoder", default="vit-b", help="as in cache build; vit-b has random weights")
    parser.add_argument("--smoke", action="store_true", help="the smallest sizes")
    parser.add_argument("--seconds", type=float, default=100.0, help="after which nothing new is begun")
    chosen = parser.parse_args()
    if not is_installed() or (chosen.device.startswith("cuda") and not torch.cuda.is_available()):
        print("neither DALI nor a GPU may be missing for this", file=sys.stderr)
        return NOT_AVAILABLE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = random_vit(folder) if chosen.encoder == "vit-b" else chosen.encoder
        encoder = load_encoder(spec, chosen.device)
        figures = Figures(chosen.device, encoder, chosen.seconds)
        measure_all(figures, encoder, chosen.device, folder, chosen.smoke)
    print(json.dumps(figures.found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
