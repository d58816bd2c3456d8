# SPDX-License-Identifier: Apache-2.0
"""The simulated world is no toy: its phases cannot be read off a few pixels, but a network learns them."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ophclip.corpus.simulate.cast import Part, cast_videos
from ophclip.corpus.simulate.procedures import IDLE
from ophclip.corpus.simulate.production import write_script
from ophclip.corpus.simulate.render import FPS, Renderer
from ophclip.corpus.simulate.truth import truth_of
from ophclip.corpus.simulate.vocabulary import PHASES

SECONDS = 30.0
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
EPOCHS, BATCH, RATE = 28, 64, 4e-3
KEYS = [term.key for term in PHASES]
Frames = NDArray[np.uint8]
Labelled = tuple[Frames, Tensor]


def labelled_frames(part: Part, every_s: int) -> tuple[list[Frames], list[int]]:
    """Frames [48, 64, 3] of one video and the numbers of their phases; rests are left out."""
    cv2.setNumThreads(1)
    script = write_script(part, SECONDS)
    phases = truth_of(script.timeline, SECONDS).phases
    renderer = Renderer(script.timeline, script.style, 96, part.index)
    seconds = [second for second in range(0, int(SECONDS), every_s) if phases[second] != IDLE]
    frames = [cv2.resize(renderer.frame(s * FPS), (64, 48), interpolation=cv2.INTER_AREA) for s in seconds]
    return frames, [KEYS.index(phases[second]) for second in seconds]


def film(parts: list[Part], every_s: int) -> Labelled:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        made = list(pool.map(partial(labelled_frames, every_s=every_s), parts, chunksize=16))
    frames = np.stack([frame for shown, _ in made for frame in shown])
    return frames, torch.tensor([label for _, labels in made for label in labels])


def linear_probe_accuracy(train: Labelled, test: Labelled) -> float:
    """Multinomial logistic regression on 16 x 16 pixels, with the penalty that is best on the test itself."""
    inputs, unseen = (torch.from_numpy(_tiny(frames)) for frames, _ in (train, test))
    mean, deviation = inputs.mean(0), inputs.std(0) + 1e-3
    inputs, unseen = (inputs - mean) / deviation, (unseen - mean) / deviation
    return max(_probe(inputs, train[1], penalty, unseen, test[1]) for penalty in PENALTIES)


def _tiny(frames: Frames) -> NDArray[np.float32]:
    shrunk = [cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(shrunk).reshape(len(frames), -1).astype(np.float32)


def _probe(inputs: Tensor, labels: Tensor, penalty: float, unseen: Tensor, truth: Tensor) -> float:
    probe = nn.Linear(inputs.shape[1], len(KEYS))
    nn.init.zeros_(probe.weight)
    optimiser = torch.optim.LBFGS(probe.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = functional.cross_entropy(probe(inputs), labels) + penalty * (probe.weight**2).sum()
        total.backward()
        return total

    optimiser.step(loss)
    return _accuracy(probe(unseen), truth)


def _accuracy(scores: Tensor, truth: Tensor) -> float:
    return float((scores.argmax(1) == truth).float().mean())


def network_accuracy(train: Labelled, test: Labelled) -> float:
    """A convolutional network of four layers, trained from scratch on the same frames."""
    inputs, unseen = _standardised(train[0]), _standardised(test[0])
    network = _network().to(memory_format=torch.channels_last)  # a third faster
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.02)
    steps = EPOCHS * (len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.2)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(inputs)).split(BATCH)[: len(inputs) // BATCH]:
            scores = network(_augmented(inputs[rows]))
            optimiser.zero_grad()
            functional.cross_entropy(scores, train[1][rows], label_smoothing=0.05).backward()
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        return _accuracy(torch.cat([network(part) for part in unseen.split(256)]), test[1])


def _network() -> nn.Module:
    return nn.Sequential(
        *_convolution(3, 32, 5, 2),
        *_convolution(32, 64, 3, 2),
        *_convolution(64, 128, 3, 2),
        *_convolution(128, 192, 3, 1),
        _Pool(),
        nn.Dropout(0.3),
        nn.Linear(2 * 192, len(KEYS)),
    )


class _Pool(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)


def _convolution(inputs: int, outputs: int, side: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _standardised(frames: Frames) -> Tensor:
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    deviation, mean = torch.std_mean(images, (2, 3), keepdim=True)
    return (images - mean) / (deviation + 8)


def _augmented(images: Tensor) -> Tensor:
    """Turn, mirror, scale and tint: eyes lie in any direction under microscopes of any colour."""
    count = len(images)
    angle = 0.35 * torch.randn(count) + torch.pi * torch.randint(0, 2, (count,))
    scale = torch.exp(0.14 * torch.randn(count))
    mirrored = torch.randint(0, 2, (count,)) * 2.0 - 1.0
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    aspect, nothing = images.shape[3] / images.shape[2], torch.zeros(count)
    across = torch.stack([cosine * mirrored, -sine / aspect, nothing], 1)
    down = torch.stack([sine * aspect * mirrored, cosine, nothing], 1)
    grid = functional.affine_grid(torch.stack([across, down], 1), list(images.shape), align_corners=False)
    turned = functional.grid_sample(images, grid, align_corners=False)
    gains = torch.exp(0.15 * torch.randn(count, 3, 1, 1))
    tinted = turned * gains + 0.15 * torch.randn(count, 3, 1, 1)
    return tinted.contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_linear_probe_on_pixels_reaches_less_than_half_of_what_a_small_network_does() -> None:
    torch.manual_seed(0)
    parts = cast_videos(narrated=200, silent=200, test=48, seed=0)
    train = film([part for part in parts if part.split == "train"], every_s=4)
    test = film([part for part in parts if part.split == "test"], every_s=1)
    pixels, network = linear_probe_accuracy(train, test), network_accuracy(train, test)
    print(f"phase accuracy on unseen videos: pixels {pixels:.3f}, network {network:.3f}")
    assert pixels < network / 2
