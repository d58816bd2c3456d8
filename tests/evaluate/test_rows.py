# SPDX-License-Identifier: Apache-2.0
"""Which frames stand behind a row: single frames, clips and windows, and what is counted on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ophclip.errors import UsageError
from ophclip.evaluate.datasets import Dataset, Item
from ophclip.evaluate.datasets.dataset import Clip
from ophclip.evaluate.rows import Pooling, Rows, check_pooling, rows_of

FRAMES, WINDOWS = Pooling(), Pooling(over="window", window_s=3)
CLIPS = Pooling(over="clip")


def of(item: Item, num_frames: int, pooling: Pooling, *, unit: str = "second", fps: float = 1.0) -> Rows:
    return rows_of(item, Dataset("made", [item], fps=fps, unit=unit), num_frames, pooling)  # type: ignore[arg-type]


def labelled(count: int) -> Item:
    return Item("a", Path("a.mp4"), phases=np.arange(count) % 3)


def clip_item(*clips: Clip) -> Item:
    return Item("a", Path("a.mp4"), phases=np.zeros(1, np.int64), clips=clips)


def told(rows: Rows) -> dict[str, int]:
    return {text.split(" ")[0] + " " + text.split(" ")[1]: count for text, count in rows.told.items()}


def test_a_row_is_a_frame_that_has_a_label() -> None:
    rows = of(labelled(5), 5, FRAMES, fps=2.0)
    assert rows.times_s.tolist() == [0, 0.5, 1, 1.5, 2]
    assert rows.phases is not None
    assert rows.phases.tolist() == [0, 1, 2, 0, 1]
    assert not rows.told
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    assert np.array_equal(rows.pooled(values), values)


def test_frames_after_the_last_label_are_counted_and_not_scored() -> None:
    rows = of(labelled(5), 9, FRAMES)
    assert len(rows.times_s) == 5
    assert told(rows) == {"frames come": 4}
    assert rows.pooled(np.zeros((9, 2), np.float32)).shape == (5, 2)


def test_a_video_may_end_one_row_early_and_no_more() -> None:
    rows = of(labelled(5), 4, FRAMES)
    assert len(rows.times_s) == 4
    assert told(rows) == {"videos end": 1}
    with pytest.raises(UsageError, match=r"video 'a' lasts 3 s, its labels 5 s"):
        of(labelled(5), 3, FRAMES)
    with pytest.raises(UsageError, match="lasts 0 s"):
        of(labelled(1), 0, FRAMES)


def test_every_row_of_a_window_has_its_mean_and_its_own_label() -> None:
    rows = of(labelled(7), 7, WINDOWS)
    values = np.arange(7, dtype=np.float32)[:, None]
    assert rows.pooled(values)[:, 0].tolist() == [1, 1, 1, 4, 4, 4, 6]
    assert rows.phases is not None
    assert rows.phases.tolist() == [0, 1, 2, 0, 1, 2, 0]
    short = of(labelled(4), 4, Pooling(over="window", window_s=0.1))
    assert np.array_equal(short.pooled(values[:4]), values[:4])


def test_a_clip_is_pooled_from_its_own_frames() -> None:
    item = clip_item(Clip(0.0, 2.0, 1), Clip(1.5, 5.0, 0), Clip(4.0, 6.0, 2))
    rows = of(item, 6, CLIPS, unit="clip")
    assert rows.phases is not None
    assert rows.phases.tolist() == [1, 0, 2]
    assert rows.times_s.tolist() == [0, 1.5, 4]
    assert rows.pooled(np.arange(6, dtype=np.float32)[:, None])[:, 0].tolist() == [0.5, 3, 4.5]
    assert not rows.told


def test_a_clip_that_is_a_file_is_pooled_from_all_of_it() -> None:
    item = clip_item(Clip(0.0, None, 2))
    assert of(item, 4, CLIPS, unit="clip").pooled(np.arange(4, dtype=np.float32)[:, None]).tolist() == [[1.5]]
    by_frame = of(Item("a", Path("a"), phases=np.array([2]), clips=item.clips), 4, FRAMES, unit="clip")
    assert by_frame.phases is not None
    assert by_frame.phases.tolist() == [2, 2, 2, 2]


def test_a_clip_between_two_frames_takes_the_one_on_screen_and_is_counted() -> None:
    rows = of(clip_item(Clip(2.2, 2.8, 0)), 5, CLIPS, unit="clip")
    assert rows.pooled(np.arange(5, dtype=np.float32)[:, None]).tolist() == [[2]]
    assert told(rows) == {"clips lie": 1}


def test_a_clip_beyond_its_video_is_counted_within_a_frame_and_refused_beyond() -> None:
    rows = of(clip_item(Clip(2.0, 6.0, 0)), 5, CLIPS, unit="clip")
    assert rows.pooled(np.arange(5, dtype=np.float32)[:, None]).tolist() == [[3]]
    assert told(rows) == {"clips end": 1}
    with pytest.raises(UsageError, match="shorter than its labels"):
        of(clip_item(Clip(2.0, 7.0, 0)), 5, CLIPS, unit="clip")
    with pytest.raises(UsageError, match="has no frame"):
        of(clip_item(Clip(0.0, None, 0)), 0, CLIPS, unit="clip")


@pytest.mark.parametrize(
    ("unit", "pooling", "says"),
    [
        ("second", CLIPS, "it has no clips to pool over"),
        ("picture", CLIPS, "it has no clips to pool over"),
        ("picture", WINDOWS, "which have no time"),
        ("second", Pooling(over="window", window_s=0), "a window must last some time"),
        ("second", Pooling(over="window", window_s=float("nan")), "a window must last some time"),
    ],
)
def test_a_pooling_that_a_dataset_cannot_have_is_refused(unit: str, pooling: Pooling, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_pooling(Dataset("made", [], unit=unit), pooling)  # type: ignore[arg-type]


def test_a_pooling_is_named_in_the_protocol() -> None:
    assert [pooling.name for pooling in (FRAMES, CLIPS, Pooling("score", "window"))] == [
        "frame",
        "clip-emb",
        "window-score",
    ]
    assert FRAMES.facts() == {"pool_over": "frame", "pool": None, "window_s": None}
