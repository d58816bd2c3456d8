# SPDX-License-Identifier: Apache-2.0
"""What a rank reads of a step: its part of the same batch, whoever reads it and when."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from run_configs import small

from ophclip.corpus import Corpus
from ophclip.models.tokens import Tokens
from ophclip.pretrain import PretrainConfig
from ophclip.pretrain.assembly import sampler_of
from ophclip.pretrain.batches import Batch, BatchReader
from ophclip.pretrain.data import load_data
from ophclip.pretrain.prefetch import prefetched
from ophclip.pretrain.state import build_state
from ophclip.pretrain.world import World


def readers(config: PretrainConfig, num_ranks: int = 1) -> list[BatchReader]:
    data = load_data(config)
    model = build_state(config, data, "cpu").model
    sampler = sampler_of(config, data)
    return [BatchReader(config, data, sampler, model, World(rank, num_ranks)) for rank in range(num_ranks)]


def the_clip_window(config: PretrainConfig, batch: Batch, place: int) -> tuple[float, float]:
    clip = load_data(config).clips[int(batch.items[place])]
    missing = max(0.0, config.min_caption_s - (clip.end_s - clip.start_s))
    return clip.start_s - missing / 2, clip.end_s + missing / 2


@pytest.mark.parametrize("num_ranks", [2, 3, 5])
@pytest.mark.parametrize("mode", ["frames", "features"])
def test_the_parts_of_all_ranks_are_the_batch_of_one(
    mode: str, num_ranks: int, shapes_corpus: Corpus, frames_cache: Path, features_cache: Path
) -> None:
    cache = frames_cache if mode == "frames" else features_cache
    config = small(shapes_corpus, cache, second_view=True)
    (alone,), ranks = readers(config), readers(config, num_ranks)
    for step in (5, 0, 2, 1):  # in any order
        whole, parts = alone.read(step), [reader.read(step) for reader in ranks]
        assert torch.equal(torch.cat([part.rows for part in parts]), whole.rows)
        seconds = [part.second for part in parts if part.second is not None]
        assert (whole.second is not None) == (whole.level == "video") == (len(seconds) == num_ranks)
        assert whole.second is None or torch.equal(torch.cat(seconds), whole.second)
        assert [part.first for part in parts] == np.cumsum([0, *map(len, parts[:-1])]).tolist()
        assert all(np.array_equal(part.items, whole.items) for part in parts)
        assert all(torch.equal(part.text_ids, whole.text_ids) for part in parts)
        assert isinstance(whole.texts, Tokens)
        lengths = torch.cat([part.texts.lengths for part in parts if isinstance(part.texts, Tokens)])
        assert torch.equal(lengths, whole.texts.lengths)


@pytest.mark.parametrize("mode", ["frames", "features"])
def test_a_second_view_is_of_other_frames_and_another_one_at_each_step(
    mode: str, shapes_corpus: Corpus, frames_cache: Path, features_cache: Path
) -> None:
    cache = frames_cache if mode == "frames" else features_cache
    (reader,) = readers(small(shapes_corpus, cache, second_view=True, batch_videos=12))
    steps = [step for step in range(12) if reader.read(step).level == "video"]
    views = []
    for step in steps[:2]:
        batch = reader.read(step)
        assert batch.second is not None
        assert batch.second.shape == batch.rows.shape
        assert not torch.equal(batch.second, batch.rows)
        views.append(batch.second[np.argsort(batch.items)])
    assert not torch.equal(*views)
    (plain,) = readers(small(shapes_corpus, cache, batch_videos=12))
    assert plain.read(steps[0]).second is None
    assert torch.equal(plain.read(steps[0]).rows, reader.read(steps[0]).rows)


def test_features_come_as_means_over_rows_of_the_window(shapes_corpus: Corpus, features_cache: Path) -> None:
    config = small(shapes_corpus, features_cache)
    (reader,), data = readers(config), load_data(config)
    batch = reader.read(0)
    for place, item in enumerate(batch.items.tolist()):
        clip = data.clips[item]
        start, end = the_clip_window(config, batch, place)
        times, rows = data.cache.times(clip.video_id), data.cache[clip.video_id].astype(np.float32)
        inside = np.flatnonzero((times > start - 0.5) & (times <= end))
        means = [(rows[i] + rows[j]) / 2 for i in inside for j in inside if i <= j]
        assert min(np.abs(batch.rows[place].numpy() - mean).max() for mean in means) < 1e-5


def test_a_whole_video_is_the_mean_of_its_rows_and_read_once(
    shapes_corpus: Corpus, features_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(shapes_corpus, features_cache)
    (reader,), data = readers(config), load_data(config)
    videos = np.array([3, 15, 3])
    first = reader.videos(videos)
    for line, number in zip(first, videos.tolist(), strict=True):
        video_id = data.video_ids[number]
        rows = data.timeline.spread(np.array([number]), np.zeros(1), np.full(1, np.inf), config.video_frames)
        mean = data.cache[video_id][rows[0]].astype(np.float32).mean(0)
        torch.testing.assert_close(line, torch.from_numpy(mean))
    monkeypatch.setattr(type(data.cache), "take", None)  # no further read
    assert torch.equal(reader.videos(videos[::-1].copy()), first.flip(0))


def test_tokens_embed_as_the_texts_they_were_made_of(shapes_corpus: Corpus, features_cache: Path) -> None:
    config = small(shapes_corpus, features_cache)
    data = load_data(config)
    model = build_state(config, data, "cpu").model.eval()
    (reader,) = readers(config)
    videos = np.array([0, 7, 17])
    tokens = reader.titles(videos)
    texts = [data.titles[number] for number in videos]
    torch.testing.assert_close(model.embed_text(tokens, 200), model.embed_text(texts, 200))
    assert isinstance(tokens, Tokens)
    part = model.embed_text(tokens.part(1, 3), 200)
    torch.testing.assert_close(part, model.embed_text(texts[1:], 200))


def test_batches_are_read_ahead_in_order_and_errors_come_in_their_place() -> None:
    def read(step: int) -> int:
        if step == 3:
            raise ValueError("three")
        return step * step

    values = prefetched(read, range(5))
    assert [next(values) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(ValueError, match="three"):
        next(values)
    assert list(prefetched(read, range(0))) == []


def test_held_out_batches_do_not_depend_on_the_seed(shapes_corpus: Corpus, features_cache: Path) -> None:
    config = small(shapes_corpus, features_cache)
    other = dataclasses.replace(config, seed=9)
    items = np.arange(4)
    rows = [readers(choice)[0].held_out("clip", items)[0] for choice in (config, other)]
    assert torch.equal(*rows)
