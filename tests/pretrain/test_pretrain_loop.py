# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from ophclip.config import load_config, to_toml
from ophclip.corpus import Corpus, write_corpus
from ophclip.errors import OphclipError, UsageError
from ophclip.models import load_encoder, load_model
from ophclip.pretrain import PretrainConfig, pretrain
from ophclip.pretrain.data import load_data
from ophclip.retrieval import load_bank


def small(corpus: Corpus, cache: Path, **changes: object) -> PretrainConfig:
    config = PretrainConfig(
        corpus=corpus.root,
        cache=cache,
        dim=32,
        steps=12,
        clip_steps=2,
        batch_clips=12,
        batch_videos=6,
        clip_frames=2,
        video_frames=4,
        num_retrieved=2,
        retrieval_warmup_steps=4,
        refresh_every_steps=3,
        lr=3e-3,
        warmup_steps=2,
        precision="fp32",
        checkpoint_every_steps=4,
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_to_match_clips_with_narrations(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path
) -> None:
    config = small(shapes_corpus, frames_cache, steps=150, augment=False)
    pretrain(config, tmp_path / "run")
    data, model = load_data(config), load_model(tmp_path / "run")
    prompts = [f"here we see the {shape} move" for shape in ("disc", "bar", "ring", "cross")]
    shapes = [next(i for i, p in enumerate(prompts) if p.split()[4] in clip.text) for clip in data.clips]
    with torch.no_grad():
        frames = torch.stack(
            [
                torch.from_numpy(data.cache[clip.video_id][int(clip.start_s * 2) + 3].copy())
                for clip in data.clips
            ]
        )
        images = F.normalize(model.embed_frames(frames), dim=1)
        texts = F.normalize(model.embed_text(prompts), dim=1)
    hits = (images @ texts.T).argmax(1) == torch.tensor(shapes)
    assert hits.float().mean() > 0.7  # chance is 0.25


def test_a_run_without_steps_is_the_initial_model(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        summary = pretrain(small(shapes_corpus, frames_cache, steps=0), tmp_path / name)
        assert summary.clip_loss is None
    assert_same_weights(tmp_path / "one", tmp_path / "two")
    assert len(load_bank(tmp_path / "one" / "bank")) == 6
    assert load_encoder(str(tmp_path / "one")).row_shape == (32,)


def test_every_step_is_logged_and_retrieval_starts_after_its_warm_up(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path
) -> None:
    pretrain(small(shapes_corpus, frames_cache), tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(12))
    assert [r["level"] for r in records[:6]] == ["clip", "clip", "video"] * 2
    assert records[2]["terms"] == ["video"]
    assert records[5]["terms"] == ["video", "title_to_silent_video", "video_to_silent_title"]
    stored = load_config(PretrainConfig, tmp_path / "run" / "config.toml")
    assert stored == small(shapes_corpus, frames_cache).resolved()


@pytest.mark.parametrize("mode", ["frames", "features"])
def test_a_killed_run_resumes_to_the_same_weights(
    mode: str, shapes_corpus: Corpus, frames_cache: Path, features_cache: Path, tmp_path: Path
) -> None:
    config = small(shapes_corpus, frames_cache if mode == "frames" else features_cache, steps=40)
    pretrain(config, tmp_path / "whole")
    (tmp_path / "config.toml").write_text(to_toml(config))
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "ophclip.cli.main", "pretrain", str(tmp_path / "config.toml")]
    process = subprocess.Popen([*command, "--out", str(killed), "--quiet"])
    while process.poll() is None and not list(killed.glob("checkpoints/step-*")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "model.safetensors").exists()
    summary = pretrain(config, killed, resume=True)
    assert summary.resumed_from >= 4
    assert_same_weights(tmp_path / "whole", killed)
    log = (killed / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == list(range(40))


def test_a_finished_run_is_not_overwritten(shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path) -> None:
    config = small(shapes_corpus, frames_cache, steps=0)
    pretrain(config, tmp_path / "run")
    with pytest.raises(UsageError, match="already holds a run"):
        pretrain(config, tmp_path / "run")
    with pytest.raises(UsageError, match="other values of lr"):
        pretrain(dataclasses.replace(config, lr=1.0), tmp_path / "run", resume=True)


def test_a_loss_that_is_not_finite_names_the_batch(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path
) -> None:
    config = small(shapes_corpus, frames_cache, lr=1e30, warmup_steps=0, grad_clip=1e30)
    with pytest.raises(OphclipError, match=r"the loss is (nan|inf) at step \d+, (clip|video) batch v\d\d"):
        pretrain(config, tmp_path / "run")


def test_more_retrieved_than_silent_videos_takes_what_there_is(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(small(shapes_corpus, frames_cache, num_retrieved=7), tmp_path / "run")
    assert capsys.readouterr().err.count("holds 6 silent videos, fewer than num_retrieved = 7") == 1


def test_a_clip_past_the_end_of_its_video_is_named(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path
) -> None:
    late = dataclasses.replace(shapes_corpus.clips[0], start_s=99.0, end_s=103.0)
    write_corpus(dataclasses.replace(shapes_corpus, clips=[late]), tmp_path)
    config = dataclasses.replace(small(shapes_corpus, frames_cache), corpus=tmp_path)
    with pytest.raises(UsageError, match="'v00-0' starts at 99 s, past the end of video 'v00'"):
        pretrain(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("key", "value"), [("steps", -1), ("batch_clips", 0), ("temperature", 0.0), ("clip_max_s", 1.0)]
)
def test_a_value_out_of_range_is_named(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=key):
        PretrainConfig(corpus=Path("c"), cache=Path("k"), **{key: value})  # type: ignore[arg-type]
