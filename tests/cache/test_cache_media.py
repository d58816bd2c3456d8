# SPDX-License-Identifier: Apache-2.0
"""Odd and hostile media through a whole build: right frames at true times, or a reason in time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_corpus import FrameRows, Statistics, build, contents, frame_rows, tree, write_clip
from numpy.typing import NDArray
from odd_media import BAD, GOOD, WHOLE, flipped, numbers_on_screen, write_endless

from ophclip.cache import BuildReport, CacheInput, open_cache
from ophclip.cache.journal import read_failures

from numbered import read_number  # isort: skip (odd_media makes it importable)

FPS = 4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CacheInput]:
    """Every kind of file, good and bad in turn."""
    folder = tmp_path_factory.mktemp("media")
    for name, write in GOOD.items():
        write(folder / name)
    for name, (write, _) in BAD.items():
        write(folder / name)
    good, bad = list(GOOD), list(BAD)
    mixed = [name for pair in zip(good, bad, strict=False) for name in pair] + good[len(bad) :]
    return {name: CacheInput(name, folder / name) for name in mixed}


@pytest.fixture(scope="module")
def media(
    inputs: dict[str, CacheInput], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, BuildReport]:
    """The frames cache of all of them, built by two workers."""
    path = tmp_path_factory.mktemp("media-cache") / "c.zarr"
    report = build(
        list(inputs.values()), path, encoder=FrameRows(WHOLE), fps=FPS, workers=2, deadline_s=60, batch_size=8
    )
    return path, report


def test_every_file_ends_as_done_or_failed_and_none_is_lost(media: tuple[Path, BuildReport]) -> None:
    path, report = media
    assert set(report.committed) == set(GOOD) == set(open_cache(path).ids)
    assert set(report.failed) == set(BAD) == set(read_failures(path))


@pytest.mark.parametrize("name", GOOD)
def test_the_frames_are_those_that_ffmpeg_shows_at_their_true_times(
    name: str, media: tuple[Path, BuildReport], inputs: dict[str, CacheInput]
) -> None:
    cache = open_cache(media[0])
    numbers, seconds = numbers_on_screen(inputs[name].path, FPS)
    assert [read_number(frame) for frame in cache[name]] == numbers
    assert cache.times(name) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize("name", BAD)
def test_the_reason_says_what_is_wrong_with_which_file(
    name: str, media: tuple[Path, BuildReport], inputs: dict[str, CacheInput]
) -> None:
    reason = media[1].failed[name]
    assert BAD[name][1] in reason
    assert reason.startswith(str(inputs[name].path))


def test_a_video_that_decodes_for_ever_fails_at_its_deadline(
    clips: list[CacheInput], built_frames: Path, tmp_path: Path
) -> None:
    path, endless = tmp_path / "c.zarr", write_endless(tmp_path / "endless.webm")
    assert endless.stat().st_size < 64 << 20
    inputs = [clips[0], CacheInput("endless", endless), *clips[1:]]
    report = build(inputs, path, encoder=frame_rows(), workers=1, deadline_s=3)
    assert report.failed == {"endless": f"{endless}: deadline of 3 s passed"}
    assert tree(path) == tree(built_frames)


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "vp9.webm", "mpeg4.avi", "h264.ts", "hevc.mp4"])
def test_flipped_bits_end_in_whole_rows_or_a_reason(
    name: str, inputs: dict[str, CacheInput], tmp_path: Path
) -> None:
    whole = inputs[name].path.read_bytes()
    damaged = []
    for seed in range(12):
        file = tmp_path / f"{seed}{inputs[name].path.suffix}"
        file.write_bytes(flipped(whole, seed))
        damaged.append(CacheInput(str(seed), file))
    path = tmp_path / "c.zarr"
    report = build(damaged, path, encoder=FrameRows(WHOLE), fps=FPS, workers=1, deadline_s=60)
    assert len(report.committed) + len(report.failed) == 12
    assert all(report.failed.values())
    cache = open_cache(path)
    for video_id in report.committed:
        assert len(cache[video_id]) == len(cache.times(video_id)) > 0
        assert (np.diff(cache.times(video_id)) >= 0).all()


class Meanwhile(Statistics):
    """`Statistics`, during whose second batch something happens to the file."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._act, self._calls = act, 0

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        self._calls += 1
        if self._calls == 2:
            self._act()
        return super().__call__(frames)


@pytest.mark.parametrize(("what", "says"), [("deleted", "No such file"), ("grown", "the file changed while")])
def test_a_file_that_is_deleted_or_grows_while_it_is_read_fails(
    what: str, says: str, clips: list[CacheInput], tmp_path: Path
) -> None:
    file = write_clip(tmp_path / "v.mp4", 7, seconds=30)

    def act() -> None:
        if what == "deleted":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes() + bytes(8))

    inputs, path = [CacheInput("v", file), *clips[:1]], tmp_path / "c.zarr"
    report = build(inputs, path, encoder=Meanwhile(act), batch_size=1)
    assert says in report.failed["v"]
    assert report.committed == ["v0"]


def test_a_stored_video_whose_file_has_become_bad_is_kept_and_called_failed_until_it_is_good_again(
    tmp_path: Path,
) -> None:
    item, path = CacheInput("v", write_clip(tmp_path / "v.mp4", 1)), tmp_path / "c.zarr"
    build([item], path)
    stored, whole = contents(path), tmp_path / "whole.mp4"
    item.path.rename(whole)
    item.path.write_text("no video")
    assert list(build([item], path).failed) == ["v"] == list(read_failures(path))
    assert contents(path) == stored, "the rows of the good file are no worse for it"
    whole.rename(item.path)
    assert build([item], path).skipped == ["v"]
    assert read_failures(path) == {}
    assert contents(path) == stored


MEASURED = """
import resource, sys
sys.path[:0] = {path!r}
from pathlib import Path
from ophclip import console
from ophclip.cache import FrameRows, build_cache, find_inputs
from ophclip.video import Geometry
if __name__ == "__main__":
    console.set_quiet(True)
    encoder = FrameRows(Geometry(224, 224))
    build_cache(find_inputs([Path({folder!r})]), Path({out!r}), encoder=encoder, fps=4, workers={workers})
    own = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_mib(folder: Path, out: Path, workers: int) -> float:
    """The most memory that a build of a folder held, in its own process or in a worker."""
    script = MEASURED.format(path=sys.path, folder=str(folder), out=str(out), workers=workers)
    program = out.with_suffix(".py")
    program.write_text(script)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True)
    return max(map(int, done.stdout.split())) / 1024


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_does_not_grow_with_the_length_or_the_number_of_videos(workers: int, tmp_path: Path) -> None:
    for name, lengths in {"short": [10], "long": [300], "many": [10] * 60}.items():
        for number, seconds in enumerate(lengths):
            write_clip(tmp_path / name / f"{number}.mp4", number, seconds=seconds)
    base = peak_mib(tmp_path / "short", tmp_path / "s.zarr", workers)  # 40 frames, 6 MB
    for name in ("long", "many"):  # 1,200 frames and more, at least 180 MB
        assert peak_mib(tmp_path / name, tmp_path / f"{name}.zarr", workers) < base + 40, name
