# SPDX-License-Identifier: Apache-2.0
"""Corpora and caches that do not fit: clear errors, or a rule that is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from run_configs import small

from ophclip.cache import build_cache, find_inputs
from ophclip.corpus import Corpus, write_corpus
from ophclip.errors import UsageError
from ophclip.models import Features, ModelConfig, build_model, load_encoder, save_model
from ophclip.pretrain import pretrain
from ophclip.pretrain.assembly import assemble
from ophclip.pretrain.clock import PhaseClock
from ophclip.pretrain.data import load_data
from ophclip.pretrain.run_folder import claimed
from ophclip.pretrain.world import World


def test_a_clip_past_the_end_of_its_video_is_named(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path
) -> None:
    late = dataclasses.replace(shapes_corpus.clips[0], start_s=99.0, end_s=103.0)
    write_corpus(dataclasses.replace(shapes_corpus, clips=[late]), tmp_path)
    with pytest.raises(UsageError, match="'v00-0' starts at 99 s, past the end of video 'v00'"):
        pretrain(small(tmp_path, frames_cache), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_empty_narration_and_a_repeated_id_are_named_with_their_lines(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path
) -> None:
    write_corpus(shapes_corpus, tmp_path)
    lines = (tmp_path / "clips.csv").read_text().splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + ","
    lines[3] = lines[2]
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError) as caught:
        pretrain(small(tmp_path, frames_cache), tmp_path / "run")
    assert "text must say something" in str(caught.value)
    assert "clip_id must be unique" in str(caught.value)


def test_videos_without_a_title_or_outside_the_cache_are_left_out_and_counted(
    shapes_corpus: Corpus, frames_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = dict(shapes_corpus.videos)
    videos["v01"] = dataclasses.replace(videos["v01"], title="", title_structured=" ")
    videos["v17"] = dataclasses.replace(videos["v17"], title="", title_structured="")
    videos["new"] = dataclasses.replace(videos["v17"], video_id="new", title="never cached")
    write_corpus(dataclasses.replace(shapes_corpus, videos=videos), tmp_path)
    data = load_data(small(tmp_path, frames_cache))
    assert [video.video_id for video in data.silent] == [f"v{number}" for number in range(12, 17)]
    assert "v01" not in {clip.video_id for clip in data.clips}
    talk = capsys.readouterr().err
    assert "1 of 12 narrated videos of the split 'train' have no title and are left out: v01" in talk
    assert "1 of 6 silent videos of the split 'train' have no title and are left out: v17" in talk
    assert "1 of 7 silent videos of the split 'train' are not in" in talk


def test_features_of_another_encoder_than_the_one_named_are_refused(
    shapes_corpus: Corpus, features_cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="must hold features of vision = 'resnet', got those of 'tiny'"):
        pretrain(small(shapes_corpus, features_cache, vision="resnet"), tmp_path / "run")


def test_a_tower_that_is_not_here_leaves_no_run_behind(
    shapes_corpus: Corpus, features_cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="'no/such-tower' is not on this machine"):
        pretrain(small(shapes_corpus, features_cache, text="no/such-tower"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    pretrain(small(shapes_corpus, features_cache), tmp_path / "run")


def test_a_second_process_is_kept_out_of_a_run(
    shapes_corpus: Corpus, features_cache: Path, tmp_path: Path
) -> None:
    config, out = small(shapes_corpus, features_cache, steps=3), tmp_path / "run"
    with (
        claimed(out, config.resolved(), resume=False),
        pytest.raises(UsageError, match="another process is training into"),
    ):
        pretrain(config, out, resume=True)
    assert not (out / "metrics.jsonl").exists()
    assert pretrain(config, out, resume=True).steps == 3


@pytest.mark.parametrize("features", ["projected", "backbone"])
def test_features_of_a_run_are_refused_because_the_new_run_could_not_name_it(
    features: Features, shapes_corpus: Corpus, tmp_path: Path
) -> None:
    save_model(build_model(ModelConfig(dim=8, image_size=32)), tmp_path / "run")
    encoder = load_encoder(str(tmp_path / "run"), features=features)
    build_cache(find_inputs([shapes_corpus.root]), tmp_path / "c.zarr", encoder=encoder, fps=1)
    with pytest.raises(UsageError, match="of a tower with a name, got those of a run; save the run's"):
        pretrain(small(shapes_corpus, tmp_path / "c.zarr"), tmp_path / "new")


def test_a_corpus_of_which_nothing_is_cached_is_refused(
    shapes_corpus: Corpus, features_cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="must hold narrated videos of the split 'nowhere'"):
        load_data(small(shapes_corpus, features_cache), split="nowhere")


def test_a_batch_of_one_has_nothing_to_contrast_with_and_a_loss_of_zero(
    shapes_corpus: Corpus, features_cache: Path, tmp_path: Path
) -> None:
    config = small(shapes_corpus, features_cache, batch_clips=1, batch_videos=1, steps=6)
    pretrain(config, tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["loss"] for record in records] == pytest.approx([0] * 6, abs=1e-6)
    assert "title_to_silent_video" in records[5]["terms"], (
        "which are all positives, so nothing is left either"
    )


def test_a_batch_that_cannot_give_each_process_an_item_is_refused(
    shapes_corpus: Corpus, features_cache: Path
) -> None:
    config = small(shapes_corpus, features_cache, batch_videos=3)
    with pytest.raises(UsageError, match="must give each of 4 processes a video, got 3"):
        assemble(config, load_data(config), World(0, 4), PhaseClock("cpu"))
    assemble(dataclasses.replace(config, video_steps=0), load_data(config), World(0, 4), PhaseClock("cpu"))
