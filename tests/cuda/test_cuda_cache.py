# SPDX-License-Identifier: Apache-2.0
"""A cache built on a GPU: frames stay on the device, and any number of engines gives the same rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("av")
pytest.importorskip("nvidia.dali")

from ophclip.cache import CacheInput, build_cache, open_cache
from ophclip.models import load_encoder
from ophclip.video import FrameFormat, Geometry, Normalization, open_source, plan_sampling, probe, write_video

pytestmark = pytest.mark.gpu

SQUARE = Geometry(96, 96)


def draw(seed: int, count: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, 256, dtype=np.uint8)[None, :, None]
    for _ in range(count):
        yield np.broadcast_to(ramp + rng.integers(0, 50, (1, 1, 3), dtype=np.uint8), (192, 256, 3))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[CacheInput]:
    folder = tmp_path_factory.mktemp("h264")
    for number in range(10):
        write_video(folder / f"v{number}.mp4", draw(number, 25 * (1 + number % 4)), 25)
    return [CacheInput(path.stem, path) for path in sorted(folder.glob("*.mp4"))]


def frames(path: Path, frame_format: FrameFormat) -> list[torch.Tensor]:
    source = open_source("dali", geometry=SQUARE, device="cuda", batch_size=8, frame_format=frame_format)
    info = probe(path)
    return list(source.read(info, plan_sampling(info, 25)))  # type: ignore[arg-type]


def test_frames_stay_on_the_gpu_and_are_nearly_those_of_pyav(inputs: list[CacheInput]) -> None:
    batches = frames(inputs[3].path, FrameFormat(as_tensors=True))
    assert {(batch.device.type, batch.dtype) for batch in batches} == {("cuda", torch.uint8)}
    info = probe(inputs[3].path)
    pyav = np.concatenate(list(open_source("pyav", geometry=SQUARE).read(info, plan_sampling(info, 25))))
    assert np.abs(torch.cat(batches).cpu().numpy().astype(int) - pyav).mean() < 3


def test_tensors_keep_their_frames_while_the_pipeline_runs_on(inputs: list[CacheInput]) -> None:
    kept = frames(inputs[3].path, FrameFormat(as_tensors=True))
    copies = [batch.clone() for batch in kept]
    frames(inputs[7].path, FrameFormat(as_tensors=True))
    torch.cuda.synchronize()
    assert all(torch.equal(batch, copy) for batch, copy in zip(kept, copies, strict=True))


def test_frames_are_normalised_on_the_gpu(inputs: list[CacheInput]) -> None:
    normal = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    planes = torch.cat(frames(inputs[0].path, FrameFormat(as_tensors=True, normalization=normal)))
    raw = torch.cat(frames(inputs[0].path, FrameFormat(as_tensors=True))).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values, device="cuda").view(3, 1, 1) for values in (normal.mean, normal.std))
    torch.testing.assert_close(planes.float(), (raw - mean) / std, atol=2e-3, rtol=1e-3)


def test_a_build_in_bf16_has_the_rows_of_one_on_a_cpu(inputs: list[CacheInput], tmp_path: Path) -> None:
    encoder = load_encoder("tiny", "cuda")
    assert encoder.key["precision"] == "bf16"
    damaged = Path(shutil.copy(inputs[0].path, tmp_path / "damaged.mp4"))
    data = bytearray(damaged.read_bytes())
    middle = data.index(b"mdat") + 200
    data[middle : middle + 400] = bytes(400)
    damaged.write_bytes(data)
    mixed = [*inputs[:2], CacheInput("damaged", damaged), *inputs[2:]]
    for engines in (1, 4):
        report = build_cache(
            mixed, tmp_path / f"{engines}.zarr", encoder=encoder, fps=5, device="cuda", engines=engines
        )
        assert set(report.committed) >= {item.video_id for item in inputs}
    build_cache(inputs, tmp_path / "cpu.zarr", encoder=load_encoder("tiny"), fps=5)
    one, four, cpu = (open_cache(tmp_path / f"{name}.zarr") for name in ("1", "4", "cpu"))
    for item in inputs:
        assert np.array_equal(one[item.video_id], four[item.video_id]), "batches are always full"
        exact = cpu[item.video_id].astype(np.float32)
        difference = one[item.video_id].astype(np.float32) - exact
        assert np.linalg.norm(difference) < 0.1 * np.linalg.norm(exact)
