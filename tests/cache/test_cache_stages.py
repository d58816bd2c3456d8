# SPDX-License-Identifier: Apache-2.0
"""The stages of a build by themselves: shared batches, several decoders at once, videos in turn again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ophclip.cache import CacheInput
from ophclip.cache.batching import encode_together
from ophclip.cache.clock import StageClock
from ophclip.cache.decoding import MAX_ROWS_TOGETHER, MAX_TOGETHER, grouped
from ophclip.cache.flow import ClosedError, Flow, Shared
from ophclip.cache.ordering import one_by_one
from ophclip.cache.pieces import Again, Broken, Closed, Frames, Job, Opened, Piece, Rows, Skipped
from ophclip.cache.source_file import SourceFile
from ophclip.errors import OphclipError
from ophclip.video import SamplingPlan, VideoInfo


def job_of(name: str, num_rows: int = 1, codec: str = "vp9") -> Job:
    pts, seconds = np.arange(num_rows), np.arange(num_rows, dtype=float)
    tick = Fraction(1)
    info = VideoInfo(Path(name), codec, 0, 8, 8, 0, tick, pts, num_rows, pts[:1], Fraction(0))
    return Job(
        CacheInput(name, Path(name)), SourceFile(name, 0, 0, 0), "", info, SamplingPlan(seconds, pts, seconds)
    )


def frames_of(video: int, count: int, is_tensor: bool) -> Any:
    """Frames of one pixel, which say what video and row they are; tensors are normalised, arrays are not."""
    values = np.array([[[[video, row, 7]]] for row in range(count)], dtype=np.uint8)
    return torch.from_numpy(values).permute(0, 3, 1, 2).half() if is_tensor else values


CHUNKS = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@given(
    videos=st.lists(
        st.tuples(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans()), max_size=6
    ),
    size=st.integers(1, 12),
    data=st.data(),
)
def test_rows_of_shared_batches_go_back_to_their_videos(
    videos: list[tuple[list[int], bool]], size: int, data: st.DataObject
) -> None:
    jobs = [job_of(str(number)) for number in range(len(videos))]

    def pieces() -> Iterator[Piece | None]:
        for number, (chunks, is_tensor) in enumerate(videos):
            frames = frames_of(number, sum(chunks), is_tensor)
            yield Opened(jobs[number], "d")
            begin = 0
            for chunk in chunks:
                yield Frames(jobs[number], frames[begin : begin + chunk])
                begin += chunk
                if data.draw(st.booleans()):
                    yield None
            yield Closed(jobs[number])

    def encode(frames: Any, _: Job) -> NDArray[Any]:
        assert len(frames) == size, "every batch is full"
        return torch.as_tensor(frames).float().numpy().reshape(size, 3)

    found: dict[str, list[Any]] = {}
    for piece in encode_together(pieces(), encode, size):
        if isinstance(piece, Opened):
            found[piece.job.item.video_id] = []
        elif isinstance(piece, Rows):
            found[piece.job.item.video_id] += piece.rows.tolist()
    expected = [[[number, row, 7] for row in range(sum(chunks))] for number, (chunks, _) in enumerate(videos)]
    assert list(found.values()) == expected


def test_a_full_batch_of_one_video_reaches_the_encoder_without_a_copy() -> None:
    job, frames = job_of("v"), frames_of(0, 4, True)
    seen: list[int] = []

    def encode(batch: Any, _: Job) -> NDArray[Any]:
        seen.append(batch.data_ptr())
        return np.zeros((4, 3), dtype=np.float16)

    list(encode_together(iter([Opened(job, "d"), Frames(job, frames), Closed(job)]), encode, 4))
    assert seen == [frames.data_ptr()]


@given(lengths=st.lists(st.integers(0, 5), max_size=5), data=st.data())
def test_videos_that_come_mixed_leave_one_by_one(lengths: list[int], data: st.DataObject) -> None:
    jobs = [job_of(str(number)) for number in range(len(lengths))]
    left = {
        number: [
            Opened(jobs[number], "d"),
            *(Rows(jobs[number], np.full((1, 1), row)) for row in range(length)),
        ]
        for number, length in enumerate(lengths)
    }
    for number, pieces in left.items():
        error = OphclipError("broken", remedy="none")
        end: Piece = (
            Closed(jobs[number]) if number % 2 else Broken(jobs[number].item, error, None, jobs[number])
        )
        pieces.append(end)
    mixed: list[Piece | None] = [None, Skipped(CacheInput("s", Path("s")))]
    while left:
        number = data.draw(st.sampled_from(sorted(left)))
        mixed.append(left[number].pop(0))
        if not left[number]:
            del left[number]
    sorted_out = list(one_by_one(iter(mixed)))
    assert isinstance(sorted_out.pop(0), Skipped)
    seen: list[str] = []
    for piece in sorted_out:
        name = piece.job.item.video_id  # type: ignore[union-attr]
        if isinstance(piece, Opened):
            seen.append(name)
        assert seen[-1] == name
    assert sorted(map(int, seen)) == list(range(len(lengths)))
    rows = dict.fromkeys(seen, 0)
    for piece in sorted_out:
        if isinstance(piece, Rows):
            assert piece.rows[0, 0] == rows[piece.job.item.video_id]
            rows[piece.job.item.video_id] += 1


def test_what_is_void_of_a_video_is_dropped() -> None:
    job, row = job_of("v"), np.zeros((1, 1))
    pieces: list[Piece] = [Opened(job, "one"), Rows(job, row), Again(job), Opened(job, "two"), Closed(job)]
    assert [type(piece) for piece in one_by_one(iter(pieces))] == [Opened, Closed]


@pytest.mark.parametrize(
    ("jobs", "sizes"),
    [
        ([job_of("v")] * (2 * MAX_TOGETHER + 1), [MAX_TOGETHER, MAX_TOGETHER, 1]),
        ([job_of("v"), job_of("v"), job_of("v", codec="h264"), job_of("v")], [2, 1, 1]),
        ([job_of("v", MAX_ROWS_TOGETHER), job_of("v"), job_of("v")], [1, 2]),
        ([job_of("v"), None, job_of("v"), job_of("v")], [1, 2]),
        ([job_of("v", codec="alone"), job_of("v", codec="alone")], [1, 1]),
        ([None, None], []),
    ],
)
def test_jobs_of_a_kind_are_gathered(jobs: list[Job | None], sizes: list[int]) -> None:
    gathered = list(grouped(iter(jobs), lambda info: None if info.codec == "alone" else info.codec))
    assert [len(group) for group in gathered] == sizes  # type: ignore[arg-type]


def test_what_is_no_job_passes_by_those_that_are_gathered() -> None:
    skipped = Skipped(CacheInput("s", Path("s")))
    first, second = job_of("a"), job_of("b")
    assert list(grouped(iter([first, skipped, second]), lambda _: 1)) == [skipped, [first, second]]


def test_several_threads_share_the_items_and_all_come_out() -> None:
    flow, shared = Flow(), Shared(iter(range(300)))
    merged = list(flow.merged([(number for number in shared) for _ in range(4)], 2, "test"))
    assert sorted(merged) == list(range(300))  # type: ignore[type-var]
    flow.join()


def test_the_error_of_one_thread_comes_out_while_the_others_still_have_items() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OphclipError("it broke", remedy="none")

    flow, going_on = Flow(), threading.Event()

    def endless() -> Iterator[int]:
        while not going_on.is_set():
            yield 0

    with pytest.raises(OphclipError, match="it broke"):
        list(flow.merged([failing(), endless()], 2, "test"))
    flow.close()
    flow.join()
    going_on.set()
    assert not any(thread.name == "ophclip test" for thread in threading.enumerate())


def test_a_closed_flow_ends_all_threads_of_a_stage() -> None:
    flow = Flow()
    items = flow.merged([iter(range(10**9)) for _ in range(3)], 1, "closed")
    next(items)
    flow.close()
    flow.join()
    assert not any(thread.name == "ophclip closed" for thread in threading.enumerate())
    with pytest.raises(ClosedError):
        next(items)


def test_the_clock_counts_each_video_that_threads_of_a_stage_work_on() -> None:
    turned: list[str] = []
    clock, ready, done = (
        StageClock(lambda _, name: turned.append(name)),
        threading.Barrier(3),
        threading.Event(),
    )

    def work(*names: str) -> None:
        with clock.working("decode", *names):
            ready.wait()
            done.wait()

    threads = [threading.Thread(target=work, args=names) for names in (("a",), ("b", "c"))]
    for thread in threads:
        thread.start()
    ready.wait()
    assert clock.is_shared
    clock.tick(2.0)
    assert clock.tick(1.0) == {"a": 3.0, "b": 3.0, "c": 3.0}
    done.set()
    for thread in threads:
        thread.join()
    assert sorted(turned) == ["a", "b", "c"]
    assert not clock.is_shared
    assert clock.tick(1.0) == {}
    assert clock.take_seconds()["decode"] > 0
