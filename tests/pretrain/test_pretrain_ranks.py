# SPDX-License-Identifier: Apache-2.0
"""Two and four processes under torchrun: the loss, gradients and weights of one; they stop together.

Starting torch in each process is what takes time here, so one launch a number of ranks does everything.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from ranks import BATCH, STEPS, rank_config, record
from run_configs import assert_same_weights, small
from safetensors.torch import load_file

from ophclip.config import to_dict, to_toml
from ophclip.corpus import Corpus
from ophclip.pretrain import PretrainConfig
from ophclip.pretrain.checkpoint import newest_sound
from ophclip.pretrain.world import World

PROGRAM = Path(__file__).with_name("ranks.py")
RANKS = [1, 2, 4]
NUM_STEPS = 40  # of a run that is killed when its first checkpoint is there, after four
NOISE = "text.importance.bias"  # before a softmax: its gradient is rounding, which AdamW makes steps of


def torchrun(num_ranks: int, *arguments: object) -> list[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    return [*launch, *map(str, arguments)]


def environment() -> dict[str, str]:
    folders = [str(PROGRAM.parents[2]), str(PROGRAM.parent), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"}


def run_config(corpus: Corpus, cache: Path) -> PretrainConfig:
    """Frames, the full method, with batches that two ranks share unequally."""
    return small(
        corpus, cache, steps=NUM_STEPS, batch_clips=9, batch_videos=5, ssl="simsiam",
        ssl_hidden=16, ssl_dim=16, ssl_bottleneck=8,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(
    shapes_corpus: Corpus, features_cache: Path, frames_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Path]:
    """What 1, 2 and 4 ranks wrote, by their number; two ranks also carried out a whole run."""
    folders: dict[int, Path] = {}
    for num_ranks in RANKS:
        out = folders[num_ranks] = tmp_path_factory.mktemp(f"ranks-{num_ranks}")
        plan: dict[str, Any] = {
            "corpus": str(shapes_corpus.root),
            "features": str(features_cache),
            "out": str(out),
        }
        if num_ranks == 1:
            record(rank_config(shapes_corpus.root, features_cache), World(), out)
            continue
        if num_ranks == 2:
            plan["run"] = to_dict(run_config(shapes_corpus, frames_cache))
        (out / "plan.json").write_text(json.dumps(plan))
        command = torchrun(num_ranks, PROGRAM, out / "plan.json")
        made = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
        assert made.returncode == 0, made.stderr[-4000:]
    return folders


@pytest.mark.parametrize("num_ranks", RANKS[1:])
def test_ranks_give_the_loss_the_gradients_and_the_weights_of_one_process(
    num_ranks: int, done: dict[int, Path]
) -> None:
    alone, ranks = done[1], done[num_ranks]
    one, many = (json.loads((folder / "losses.json").read_text()) for folder in (alone, ranks))
    assert len(many) == STEPS
    for step, (expected, found) in enumerate(zip(one, many, strict=True)):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4), step
        assert found["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3), step
        assert found["terms"] == pytest.approx(expected["terms"], rel=1e-4), step
    assert {"title_to_silent_video", "video_to_silent_video"} < many[-1]["terms"].keys()
    for name in ("gradients.st", "weights-0.st"):
        first, other = load_file(alone / name), load_file(ranks / name)
        assert first.keys() == other.keys()
        for key, value in first.items():
            if key == NOISE:
                continue
            torch.testing.assert_close(other[key], value, rtol=1e-3, atol=1e-5, msg=f"{name}: {key}")


@pytest.mark.parametrize("num_ranks", RANKS[1:])
def test_all_ranks_hold_the_same_weights_and_the_same_bank(num_ranks: int, done: dict[int, Path]) -> None:
    for name in ("weights", "bank"):
        held = [load_file(done[num_ranks] / f"{name}-{rank}.st") for rank in range(num_ranks)]
        for other in held[1:]:
            assert all(torch.equal(held[0][key], other[key]) for key in held[0])
    alone = load_file(done[1] / "bank-0.st")
    torch.testing.assert_close(held[0]["keys"], alone["keys"], rtol=1e-3, atol=1e-4)
    assert torch.equal(held[0]["steps"], alone["steps"])


@pytest.mark.parametrize("num_ranks", RANKS[1:])
def test_unequal_shares_are_gathered_in_order_and_gradients_are_summed(
    num_ranks: int, done: dict[int, Path]
) -> None:
    for rank in range(num_ranks):
        found = json.loads((done[num_ranks] / f"gather-{rank}.json").read_text())
        assert found["rows"] == torch.arange(10.0).view(5, 2).tolist()
        weight = float(sum(range(1, num_ranks + 1)))
        assert found["grad"] == [[weight, weight]] * len(found["grad"])
        share = World(rank, num_ranks).share(5)
        assert len(found["grad"]) == share.stop - share.start


@pytest.mark.parametrize("num_ranks", RANKS[1:])
def test_a_rank_that_fails_tells_the_others_why(num_ranks: int, done: dict[int, Path]) -> None:
    last = num_ranks - 1
    reasons = [(done[num_ranks] / f"failure-{rank}.txt").read_text() for rank in range(num_ranks)]
    assert reasons[last] == "the disk is full; free some space"
    for reason in reasons[:last]:
        assert reason.startswith(f"rank {last} stopped: the disk is full")
        assert reason.endswith("--resume")


def test_two_ranks_killed_and_resumed_end_with_the_weights_of_an_uninterrupted_run(
    shapes_corpus: Corpus, frames_cache: Path, done: dict[int, Path], tmp_path: Path
) -> None:
    config, out = run_config(shapes_corpus, frames_cache), tmp_path / "run"
    (tmp_path / "config.toml").write_text(to_toml(config))
    command = torchrun(
        2, "-m", "ophclip.cli.main", "pretrain", tmp_path / "config.toml", "--out", out, "--quiet"
    )
    victim = random.choice([0, 1])
    with (tmp_path / "stderr.txt").open("w") as stderr:
        process = subprocess.Popen(command, env=environment(), stderr=stderr)
        wait_for((out / "metrics.jsonl").exists, process)
        pid = pid_of_rank(process, victim)
        wait_for(lambda: len(list(out.glob("checkpoints/step-*"))) > 0, process)
        os.kill(pid, signal.SIGKILL)
        assert process.wait(timeout=120) != 0
    talk = (tmp_path / "stderr.txt").read_text()
    assert "lost the others: one was killed or lost its connection" in talk, talk[-3000:]
    assert "with --resume" in talk
    assert not (out / "model.safetensors").exists()
    found = newest_sound(out / "checkpoints")
    assert found is not None
    assert 4 <= found[1]["step"] < NUM_STEPS
    again = subprocess.run(
        [*command, "--resume"], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert again.returncode == 0, again.stderr[-3000:]
    assert_same_weights(done[2] / "run", out)
    assert [json.loads(line)["step"] for line in (out / "metrics.jsonl").open()] == list(range(NUM_STEPS))
    assert again.stdout.count("num processes") == 1, "the first process alone prints the result"


def wait_for(condition: Any, process: subprocess.Popen[Any]) -> None:
    while not condition():
        assert process.poll() is None
        time.sleep(0.01)


def pid_of_rank(launcher: subprocess.Popen[Any], rank: int) -> int:
    for child in psutil.Process(launcher.pid).children(recursive=True):
        if child.environ().get("RANK") == str(rank):
            return child.pid
    raise AssertionError(f"rank {rank} is not running")


def test_shares_are_contiguous_and_differ_by_one_at_most() -> None:
    for size in (1, 2, 3, 4, 7):
        shares = [World(rank, size).share(BATCH) for rank in range(size)]
        assert [share.start for share in shares[1:]] == [share.stop for share in shares[:-1]]
        assert shares[-1].stop == BATCH
        lengths = [share.stop - share.start for share in shares]
        assert max(lengths) - min(lengths) <= 1
