# SPDX-License-Identifier: Apache-2.0
"""The batch of a step, as one rank reads it from the cache.

In features mode a clip or video is the mean of its features already: the mean over frames and the linear
projection that follows can change places, which saves the projection of every frame.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ophclip.models import DualEncoder
from ophclip.models.tokens import Tokens
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.data import TrainingData
from ophclip.pretrain.losses import text_ids
from ophclip.pretrain.sampler import LevelName, Sampler, step_rng
from ophclip.pretrain.texts import TextStore
from ophclip.pretrain.world import World

CACHED_BYTES = 1 << 20  # of features that are read at a time: they are still in a CPU's cache when averaged


@dataclass(frozen=True)
class Batch:
    """A rank's part of the batch of a step; `items` and `text_ids` are of the whole batch.

    `rows` are frames, uint8 `[b, T, H, W, 3]`, or mean features, float32 `[b, F]`; so are those of `second`,
    other moments of the same videos.
    """

    step: int
    level: LevelName
    items: NDArray[np.int64]  # [B], clips or narrated videos by number
    first: int  # place of this rank's first item among them
    rows: Tensor
    texts: Tokens | list[str]
    text_ids: Tensor  # int64 [B]
    second: Tensor | None = None

    def __len__(self) -> int:
        return self.rows.shape[0]


class BatchReader:
    """Reads batches; the same numbers whatever the number of ranks, and whoever asks in which order.

    Threads may share it: one reads ahead while another encodes silent videos.
    """

    def __init__(
        self, config: PretrainConfig, data: TrainingData, sampler: Sampler, model: DualEncoder, world: World
    ) -> None:
        self._config, self._data, self._sampler, self._world = config, data, sampler, world
        self._narrations = TextStore(data.narrations, config.clip_tokens, model.text)
        self._titles = TextStore(data.titles, config.video_tokens, model.text)
        self.narration_ids = text_ids(data.narrations)
        self.title_ids = text_ids(data.titles)
        self._lock = threading.RLock()
        self._pins = world.device != "cpu"
        num_rows = max(config.clip_frames, config.video_frames, CACHED_BYTES // data.cache.row_bytes)
        self._scratch = np.empty(
            (0 if data.has_frames else num_rows, *data.cache.row_shape), data.cache.dtype
        )
        count = len(data.video_ids)
        self._means = np.empty(
            (0 if data.has_frames else count, *data.cache.row_shape[-1:]), dtype=np.float32
        )
        self._has_mean = np.zeros(count, dtype=bool)

    def read(self, step: int) -> Batch:
        """Return this rank's part of the batch of a step."""
        with self._lock:
            batch = self._read(step)
        return batch

    def _read(self, step: int) -> Batch:
        level, items = self._sampler.level(step), self._sampler.items(step)
        own = self._world.share(len(items))
        second: Tensor | None = None
        if level == "clip":
            _, begin, end = self.windows(step)
            rows = self._clips(self._data.clip_videos[items[own]], begin[own], end[own])
            texts, ids = self._narrations.batch(items[own]), self.narration_ids
        else:
            rows, texts, ids = self._videos(items[own]), self._titles.batch(items[own]), self.title_ids
            second = self._second_view(step, items, own) if self._config.second_view else None
        if self._pins:
            rows, second = rows.pin_memory(), None if second is None else second.pin_memory()
            texts = texts.pin() if isinstance(texts, Tokens) else texts
        return Batch(step, level, items, own.start, rows, texts, ids[torch.tensor(items)], second)

    def windows(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the clips of a clip-level step, and the seconds from and to which each is read, `[B]`.

        They are drawn for the whole batch, so that they do not depend on the number of ranks.
        """
        items = self._sampler.items(step)
        drawn = step_rng(self._config.seed, "window", step).random((len(items), 2))
        return items, *self._windows(items, drawn)

    def titles(self, videos: NDArray[np.int64]) -> Tokens | list[str]:
        """Return the titles of videos by number."""
        with self._lock:
            return self._titles.batch(videos)

    def videos(self, videos: NDArray[np.int64]) -> Tensor:
        """Return frames spread over whole videos, or their mean features, which are kept."""
        with self._lock:
            return self._videos(videos)

    def _videos(self, videos: NDArray[np.int64]) -> Tensor:
        if self._data.has_frames:
            return torch.from_numpy(self._data.cache.take(*self._video_rows(videos)))
        new = np.unique(videos[~self._has_mean[videos]])
        self._means[new] = self._mean(*self._video_rows(new)).numpy()
        self._has_mean[new] = True
        return torch.from_numpy(self._means[videos])

    def _second_view(self, step: int, items: NDArray[np.int64], own: slice) -> Tensor:
        """Return a random frame of each stretch of the videos, drawn for the whole batch, or their means."""
        shape = (len(items), self._config.video_frames)
        drawn = step_rng(self._config.seed, "second", step).random(shape)[own]
        videos = items[own]
        ids, rows = self._ids(videos), self._data.timeline.scattered(videos, drawn)
        if self._data.has_frames:
            return torch.from_numpy(self._data.cache.take(ids, rows))
        return self._mean(ids, rows)

    def held_out(
        self, level: LevelName, items: NDArray[np.int64]
    ) -> tuple[Tensor, Tokens | list[str], Tensor]:
        """Return rows, texts and text ids of items, clips by a window in their middle: nothing is random."""
        numbers = torch.tensor(items)
        with self._lock:
            if level == "video":
                return self._videos(items), self._titles.batch(items), self.title_ids[numbers]
            windows = self._windows(items, np.full((len(items), 2), 0.5))
            rows = self._clips(self._data.clip_videos[items], *windows)
            return rows, self._narrations.batch(items), self.narration_ids[numbers]

    def names(self, level: LevelName, items: NDArray[np.int64]) -> list[str]:
        """Return the ids of clips or videos."""
        clips, videos = self._data.clips, self._data.video_ids
        return [clips[item].clip_id if level == "clip" else videos[item] for item in items.tolist()]

    def _clips(
        self, videos: NDArray[np.int64], begin_s: NDArray[np.float64], end_s: NDArray[np.float64]
    ) -> Tensor:
        rows = self._data.timeline.spread(videos, begin_s, end_s, self._config.clip_frames)
        ids = self._ids(videos)
        if self._data.has_frames:
            return torch.from_numpy(self._data.cache.take(ids, rows))
        return self._mean(ids, rows)

    def _windows(
        self, items: NDArray[np.int64], drawn: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a window of each clip, inside its caption or, where that is short, around it; seconds.

        `drawn` `[B, 2]` in [0, 1) says how long it is and where it lies.
        """
        config = self._config
        start, end = self._data.clip_spans[items].T
        missing = np.maximum(0.0, config.min_caption_s - (end - start))
        start, end = start - missing / 2, end + missing / 2
        length = config.clip_min_s + drawn[:, 0] * (config.clip_max_s - config.clip_min_s)
        length = np.minimum(length, end - start)
        begin = start + drawn[:, 1] * (end - start - length)
        return begin, begin + length

    def _video_rows(self, videos: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int64]]:
        whole = np.zeros(len(videos)), np.full(len(videos), np.inf)
        return self._ids(videos), self._data.timeline.spread(videos, *whole, self._config.video_frames)

    def _ids(self, videos: NDArray[np.int64]) -> list[str]:
        names = self._data.video_ids
        return [names[video] for video in videos.tolist()]

    def _mean(self, ids: list[str], rows: NDArray[np.int64]) -> Tensor:
        """Return the mean of rows `[B, T]` of features: float32 `[B, F]`."""
        cache = self._data.cache
        mean = torch.empty(len(ids), *cache.row_shape)
        for start in range(0, len(ids), self._scratch.shape[0] // rows.shape[1]):
            part = slice(start, start + self._scratch.shape[0] // rows.shape[1])
            count = rows[part].size
            features = self._scratch[:count].reshape(*rows[part].shape, *cache.row_shape)
            cache.take(ids[part], rows[part], out=features)
            torch.mean(torch.from_numpy(features).float(), dim=1, out=mean[part])
        return mean
