# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from run_configs import assert_same_weights, small

from ophclip.config import load_config
from ophclip.corpus import Corpus, write_corpus
from ophclip.errors import UsageError
from ophclip.models import load_encoder, load_model
from ophclip.pretrain import PretrainConfig, pretrain
from ophclip.pretrain.data import load_data
from ophclip.retrieval import load_bank


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
    assert list(records[2]["terms"]) == ["video"]
    assert list(records[5]["terms"]) == ["video", "title_to_silent_video", "video_to_silent_title"]
    assert records[2]["loss"] == pytest.approx(records[2]["terms"]["video"])
    assert all(record["seconds"] >= record["data_seconds"] >= 0 for record in records)
    stored = load_config(PretrainConfig, tmp_path / "run" / "config.toml")
    assert stored == small(shapes_corpus, frames_cache).resolved()


def test_a_finished_run_is_not_overwritten(shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path) -> None:
    config = small(shapes_corpus, frames_cache, steps=0)
    pretrain(config, tmp_path / "run")
    with pytest.raises(UsageError, match="already holds a run"):
        pretrain(config, tmp_path / "run")
    with pytest.raises(UsageError, match="other values of lr"):
        pretrain(dataclasses.replace(config, lr=1.0), tmp_path / "run", resume=True)


def test_more_retrieved_than_silent_videos_takes_what_there_is(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(small(shapes_corpus, frames_cache, num_retrieved=7), tmp_path / "run")
    assert capsys.readouterr().err.count("holds 6 silent videos, fewer than num_retrieved = 7") == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("steps", -1), ("batch_clips", 0), ("micro_batch", -1), ("keep_checkpoints", 0), ("clip_max_s", 1.0)],
)
def test_a_value_out_of_range_is_named(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=key):
        PretrainConfig(corpus=Path("c"), cache=Path("k"), **{key: value})  # type: ignore[arg-type]


def test_two_levels_of_no_steps_are_an_error() -> None:
    with pytest.raises(UsageError, match="clip_steps and video_steps must not both be 0"):
        PretrainConfig(corpus=Path("c"), cache=Path("k"), clip_steps=0, video_steps=0)


def test_levels_may_take_turns_by_whole_passes(
    shapes_corpus: Corpus, features_cache: Path, tmp_path: Path
) -> None:
    # 24 clips in batches of 12 are 2 steps a pass; 12 videos in batches of 4 are 3.
    config = small(shapes_corpus, features_cache, alternation="epoch", clip_steps=2, video_steps=1,
                   batch_videos=4, steps=14)  # fmt: skip
    pretrain(config, tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["level"] for record in records] == (["clip"] * 4 + ["video"] * 3) * 2


def test_the_held_out_loss_says_which_checkpoint_is_best(
    shapes_corpus: Corpus, features_cache: Path, tmp_path: Path
) -> None:
    held_out = {"v08", "v09", "v10", "v11"}
    videos = {
        name: dataclasses.replace(video, split="val" if name in held_out else "train")
        for name, video in shapes_corpus.videos.items()
    }
    write_corpus(dataclasses.replace(shapes_corpus, videos=videos), tmp_path / "corpus")
    config = small(tmp_path / "corpus", features_cache, held_out="val", steps=20, lr=0.1, keep_checkpoints=1)
    summary = pretrain(config, tmp_path / "run")
    kept = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {"step-00000020", f"step-{summary.best_step:08d}"}
    facts = json.loads((tmp_path / "run" / "checkpoints" / "step-00000020" / "state.json").read_text())
    assert facts["best"]["of"] == "val"
    assert facts["best"]["step"] == summary.best_step
    assert load_encoder(
        str(tmp_path / "run" / "checkpoints" / f"step-{summary.best_step:08d}")
    ).row_shape == (32,)
    with pytest.raises(UsageError, match="must not be the split that is trained on"):
        pretrain(dataclasses.replace(config, held_out="train"), tmp_path / "other")


def test_a_trace_is_written_on_request(shapes_corpus: Corpus, features_cache: Path, tmp_path: Path) -> None:
    pretrain(small(shapes_corpus, features_cache), tmp_path / "run", profile=True)
    trace = json.loads((tmp_path / "run" / "profile" / "rank0.json").read_text())
    assert any("linear" in event.get("name", "") for event in trace["traceEvents"])


def test_a_tracker_that_is_not_installed_is_named(
    shapes_corpus: Corpus, features_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"log = 'wandb' needs a package .*ophclip\[wandb\]"):
        pretrain(small(shapes_corpus, features_cache, log="wandb"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_numbers_of_each_step(
    shapes_corpus: Corpus, features_cache: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    pretrain(small(shapes_corpus, features_cache, log="tensorboard"), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("video/loss")] == [2, 5, 8, 11]
    assert "video/terms/title_to_silent_video" in events.Tags()["scalars"]
