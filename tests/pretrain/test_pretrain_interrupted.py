# SPDX-License-Identifier: Apache-2.0
"""Killed, stopped, and resumed from damaged checkpoints: the weights of an uninterrupted run."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from run_configs import assert_same_weights, small

from ophclip.config import to_toml
from ophclip.corpus import Corpus
from ophclip.errors import DamageError, OphclipError, UsageError
from ophclip.pretrain import PretrainConfig, pretrain
from ophclip.pretrain.checkpoint import checkpoints

STEPS = 60


@pytest.mark.parametrize("mode", ["frames", "features"])
def test_a_run_that_is_killed_and_stopped_at_random_steps_ends_with_the_same_weights(
    mode: str, shapes_corpus: Corpus, frames_cache: Path, features_cache: Path, tmp_path: Path
) -> None:
    cache = frames_cache if mode == "frames" else features_cache
    config = small(shapes_corpus, cache, steps=STEPS, second_view=True)
    torch.set_num_threads(1)
    pretrain(config, tmp_path / "whole")
    (tmp_path / "config.toml").write_text(to_toml(config))
    out = tmp_path / "run"
    step = random.randint(5, 20)
    process = start(tmp_path, "--out", str(out))
    wait_for_step(process, out, step)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, f"killed at step {step}"
    assert not (out / "model.safetensors").exists()

    process = start(tmp_path, "--out", str(out), "--resume")
    wait_for_step(process, out, random.randint(25, 40))
    os.kill(process.pid, signal.SIGTERM)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130, talk
    assert talk.splitlines()[-1].endswith("pretrain needs --resume")
    logged = len((out / "metrics.jsonl").read_text().splitlines())
    assert checkpoints(out / "checkpoints")[-1].name == f"step-{logged:08d}"

    summary = pretrain(config, out, resume=True)
    assert summary.resumed_from == logged
    assert_same_weights(tmp_path / "whole", out)
    log = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == list(range(STEPS))
    whole, resumed = (pretrain(config, run, resume=True) for run in (tmp_path / "whole", out))
    assert whole.best_step == resumed.best_step


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ophclip.cli.main", "pretrain", str(folder / "config.toml"), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, "--quiet"], stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_step(process: subprocess.Popen[str], out: Path, step: int) -> None:
    log = out / "metrics.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") <= step:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.005)


@pytest.fixture(scope="module")
def interrupted(
    shapes_corpus: Corpus, features_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PretrainConfig, Path, Path]:
    """A run of 12 steps, and the same as if it had been killed after its last checkpoint."""
    config = small(shapes_corpus, features_cache, keep_checkpoints=3)
    folder = tmp_path_factory.mktemp("interrupted")
    pretrain(config, folder / "whole")
    shutil.copytree(folder / "whole", folder / "killed")
    (folder / "killed" / "model.safetensors").unlink()
    return config, folder / "whole", folder / "killed"


def copied(run: Path, out: Path) -> Path:
    return Path(shutil.copytree(run, out))


@pytest.mark.parametrize("harm", ["flip", "cut", "delete", "no state", "empty state"])
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(
    harm: str,
    interrupted: tuple[PretrainConfig, Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, whole, killed = interrupted
    out = copied(killed, tmp_path / "run")
    newest = checkpoints(out / "checkpoints")[-1]
    file = newest / "optimizer.safetensors"
    data = bytearray(file.read_bytes())
    if harm == "flip":
        data[-5] ^= 1
        file.write_bytes(data)
    elif harm == "cut":
        file.write_bytes(data[:-1])
    elif harm == "delete":
        file.unlink()
    elif harm == "no state":
        (newest / "state.json").unlink()
    else:
        (newest / "state.json").write_text("")
    summary = pretrain(config, out, resume=True)
    assert summary.resumed_from == 8
    assert_same_weights(whole, out)
    assert "warning: checkpoint" in capsys.readouterr().err
    assert {path.name for path in (out / "checkpoints").iterdir()} == {
        "step-00000004", "step-00000008", "step-00000012", "damaged-step-00000012"
    }  # fmt: skip


def test_when_all_checkpoints_are_damaged_nothing_is_begun_anew(
    interrupted: tuple[PretrainConfig, Path, Path], tmp_path: Path
) -> None:
    config, _, killed = interrupted
    out = copied(killed, tmp_path / "run")
    for checkpoint in checkpoints(out / "checkpoints"):
        (checkpoint / "state.json").unlink()
    with pytest.raises(DamageError, match=r"every checkpoint .* is damaged"):
        pretrain(config, out, resume=True)


def test_what_a_killed_process_left_half_written_is_no_checkpoint(
    interrupted: tuple[PretrainConfig, Path, Path], tmp_path: Path
) -> None:
    config, whole, killed = interrupted
    out = copied(killed, tmp_path / "run")
    newest = checkpoints(out / "checkpoints")[-1]
    half = newest.with_name(".tmp-0123")
    newest.rename(half)
    (half / "state.json").unlink()
    assert pretrain(config, out, resume=True).resumed_from == 8
    assert_same_weights(whole, out)
    assert not half.exists()


def test_where_a_run_is_computed_may_change_when_it_is_resumed_and_what_it_learns_may_not(
    interrupted: tuple[PretrainConfig, Path, Path], tmp_path: Path
) -> None:
    config, whole, killed = interrupted
    out = copied(killed, tmp_path / "run")
    with pytest.raises(UsageError, match="other values of lr, seed"):
        pretrain(dataclasses.replace(config, lr=1.0, seed=4, keep_checkpoints=1), out, resume=True)
    pretrain(dataclasses.replace(config, keep_checkpoints=1, checkpoint_every_steps=6), out, resume=True)
    assert_same_weights(whole, out)


def test_rows_of_another_encoder_are_refused_when_a_run_is_resumed(
    interrupted: tuple[PretrainConfig, Path, Path], tmp_path: Path
) -> None:
    config, _, killed = interrupted
    out = copied(killed, tmp_path / "run")
    state = checkpoints(out / "checkpoints")[-1] / "state.json"
    state.write_text(state.read_text().replace('"weights": "', '"weights": "0'))
    with pytest.raises(UsageError, match=r"must hold rows of .*, which .*step-00000012 was trained on"):
        pretrain(config, out, resume=True)


@pytest.mark.parametrize("what", ["the loss is (nan|inf)", "the gradient's norm is (nan|inf)"])
def test_a_step_that_is_not_finite_is_named_and_changes_nothing(
    what: str, shapes_corpus: Corpus, features_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(shapes_corpus, features_cache, checkpoint_every_steps=1, lr=1e-3)
    if "loss" in what:
        config = dataclasses.replace(config, lr=1e30, warmup_steps=0, grad_clip=1e30)
    else:
        poison_gradients(monkeypatch, after=3)
    with pytest.raises(OphclipError, match=rf"{what} at step \d+, .*(batch|embeddings of) v\d\d"):
        pretrain(config, tmp_path / "run")
    newest = checkpoints(tmp_path / "run" / "checkpoints")
    logged = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [int(path.name[5:]) for path in newest][-1:] == ([len(logged)] if logged else [])


def poison_gradients(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    from ophclip.pretrain.embedding import Embedded, Embedder

    original, calls = Embedder.backward, []

    def backward(self: Embedder, embedded: Embedded) -> None:
        original(self, embedded)
        calls.append(1)
        if len(calls) > after:
            weight = self._model.image_projection.weight
            weight.grad = torch.full_like(weight, torch.nan)

    monkeypatch.setattr(Embedder, "backward", backward)
