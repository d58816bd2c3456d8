# SPDX-License-Identifier: Apache-2.0
"""Worker processes: the bytes of one process, and a crash, a hang or a kill costs one video at most."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from cache_corpus import Statistics, build, contents, frame_rows, tree, write_clip
from cache_encoders import (
    Batches,
    OnWhite,
    Slow,
    WithoutTorch,
    crash,
    crash_at_start,
    leave,
    other_weights,
    refuse_to_start,
    run_out,
    sleep,
    spin,
    write_white,
)

from ophclip.cache import CacheInput, open_cache
from ophclip.cache.journal import read_failures
from ophclip.cache.member import Member
from ophclip.cache.messages import Pulse, Ready, Turned
from ophclip.cache.supervisor import WorkerError
from ophclip.errors import OphclipError, UsageError


@pytest.fixture(scope="module")
def white(tmp_path_factory: pytest.TempPathFactory) -> CacheInput:
    return write_white(tmp_path_factory.mktemp("white") / "white.mp4")


def children() -> list[psutil.Process]:
    """The worker processes of this one."""
    return [child for child in psutil.Process().children() if is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    try:
        return any("spawn_main" in word for word in process.cmdline())
    except psutil.Error:
        return False


def await_true(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_store_the_bytes_of_one_process(
    workers: int, clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    report = build(clips, path, workers=workers)
    assert (report.committed, report.failed, report.workers) == (["v0", "v1", "v2", "v3"], {}, workers)
    assert report.num_frames == 36
    assert tree(path) == tree(built)
    assert contents(path) == contents(built)
    assert len(list((path / "_journal").glob("commits-*"))) <= workers
    assert children() == []


def test_what_is_stored_already_starts_no_worker(
    clips: list[CacheInput], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.zarr"
    build(clips, path)
    report = build(clips, path, workers=2, make_encoder=crash_at_start)
    assert (report.skipped, report.workers) == (["v0", "v1", "v2", "v3"], 0)


def test_a_touched_file_is_looked_at_by_a_worker_and_skipped(tmp_path: Path) -> None:
    item = CacheInput("v", write_clip(tmp_path / "v.mp4", 1))
    build([item], tmp_path / "c.zarr")
    os.utime(item.path, (1, 1))
    assert build([item], tmp_path / "c.zarr", workers=1).skipped == ["v"]


def test_a_frames_worker_imports_no_torch(clips: list[CacheInput], tmp_path: Path) -> None:
    report = build(clips[:1], tmp_path / "c.zarr", encoder=WithoutTorch(), workers=1)
    assert report.committed == ["v0"]


@pytest.mark.parametrize(
    ("act", "reason"), [(crash, "decoder crashed (signal 11)"), (leave, "decoder crashed (exit code 7)")]
)
def test_a_video_that_kills_its_worker_fails_alone(
    act: Any, reason: str, white: CacheInput, clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    report = build([clips[0], white, *clips[1:]], path, encoder=OnWhite(act), workers=2)
    assert report.failed == read_failures(path) == {"white": f"{white.path}: {reason}"}
    assert report.committed == ["v0", "v1", "v2", "v3"]
    assert tree(path) == tree(built), "nothing of it is left, and the others are whole"


@pytest.mark.parametrize("act", [sleep, spin])
def test_a_video_that_hangs_fails_at_its_deadline_and_the_others_go_on(
    act: Any, white: CacheInput, clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    report = build([white, *clips], path, encoder=OnWhite(act), workers=1, deadline_s=1.5)
    assert report.failed == {"white": f"{white.path}: deadline of 1.5 s passed"}
    assert report.committed == ["v0", "v1", "v2", "v3"]
    assert tree(path) == tree(built)
    assert children() == []


def writing_worker(path: Path) -> int:
    """Return the process id of a worker that is storing a video: its name is in that of the folder."""
    folder = next((path / "videos").glob(".tmp-*"))
    return int(folder.name.split("@")[1].split("-")[1])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_killed_or_stopped_from_outside_costs_no_video(
    number: signal.Signals, clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"

    def interfere() -> None:
        await_true(lambda: list((path / "videos").glob(".tmp-*")))
        os.kill(writing_worker(path), number)

    thread = threading.Thread(target=interfere)
    thread.start()
    report = build(clips, path, encoder=Slow(), workers=2, deadline_s=2, batch_size=2)
    thread.join()
    assert report.failed == {}
    assert tree(path) == tree(built)
    assert children() == []


def test_time_in_which_a_video_waits_for_another_is_not_held_against_it(
    clips: list[CacheInput], tmp_path: Path
) -> None:
    # 6, 8, 10 and 12 rows at an eighth of a second each: 4.5 s in all, but at most 1.5 s a video.
    report = build(clips, tmp_path / "c.zarr", encoder=Slow(), workers=1, deadline_s=3, batch_size=2)
    assert report.failed == {}
    assert report.seconds > 4


def test_an_encoder_out_of_memory_ends_the_build_with_its_error(
    white: CacheInput, clips: list[CacheInput], tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        build([*clips[:1], white], tmp_path / "c.zarr", encoder=OnWhite(run_out), workers=1)
    assert open_cache(tmp_path / "c.zarr").ids == ["v0"]
    assert children() == []


@pytest.mark.parametrize(
    ("make_encoder", "error", "says"),
    [
        (crash_at_start, WorkerError, r"a worker process ended at start-up \(signal 11\)"),
        (refuse_to_start, ImportError, "no such library on cpu"),
        (other_weights, OphclipError, "must make the encoder of this build"),
    ],
)
def test_a_worker_that_cannot_start_ends_the_build(
    make_encoder: Any, error: type[Exception], says: str, clips: list[CacheInput], tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        build(clips, tmp_path / "c.zarr", workers=2, make_encoder=make_encoder)
    assert open_cache(tmp_path / "c.zarr").ids == []
    assert children() == []


def test_an_encoder_that_cannot_be_sent_is_a_usage_error(clips: list[CacheInput], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must pickle to reach the worker processes") as caught:
        build(clips, tmp_path / "c.zarr", encoder=OnWhite(lambda: None), workers=1)
    assert "make_encoder" in caught.value.remedy


def test_each_worker_makes_its_encoder_on_a_device_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(OphclipError, match="of cuda:1"):
        build(
            [CacheInput(f"v{n}", write_clip(tmp_path / f"v{n}.mp4", n)) for n in range(2)],
            tmp_path / "c.zarr",
            encoder=Statistics("of cuda:0"),
            workers=2,
            devices=["cuda:0", "cuda:1"],
            make_encoder=other_weights,
            decoder="pyav",
        )


def test_short_videos_share_full_batches_and_get_the_rows_of_their_own(
    clips: list[CacheInput], white: CacheInput, built: Path, tmp_path: Path
) -> None:
    path, bad = tmp_path / "c.zarr", tmp_path / "bad.mp4"
    bad.write_text("no video")
    inputs = [clips[0], CacheInput("bad", bad), *clips[1:]]
    options = {"encoder": Batches(), "batch_size": Batches.size, "fills_batches": True}
    for workers in (0, 1):
        report = build(inputs, path.with_suffix(f".{workers}"), workers=workers, **options)
        assert (report.committed, list(report.failed)) == (["v0", "v1", "v2", "v3"], ["bad"])
        assert tree(path.with_suffix(f".{workers}")) == tree(built)
    with pytest.raises(RuntimeError, match="got a batch of 6"):
        build(clips, tmp_path / "alone.zarr", **options | {"fills_batches": False})


@pytest.fixture
def member() -> Iterator[Member]:
    made = Member(b"", "cpu", 1)
    yield made
    made.kill()
    made.ended()


def test_no_video_is_condemned_for_time_that_is_spent_on_several_together(member: Member) -> None:
    for name in "ab":
        member.give(CacheInput(name, Path(name)))
        member.note(Turned("decode", name))
    member.note(Pulse({"a": 9.0, "b": 9.0}, is_shared=True))
    assert set(member.overdue(5.0)) == {"a", "b"}
    assert member.is_stuck, "so that each is tried alone"
    member.note(Pulse({"a": 9.0}))
    assert set(member.overdue(5.0)) == {"a"}
    assert not member.is_stuck


@pytest.mark.parametrize(("side_by_side", "few", "many"), [(1, 2, 8), (4, 5, 32)])
def test_a_worker_has_as_many_videos_in_hand_as_it_decodes_and_one_more(
    side_by_side: int, few: int, many: int, member: Member
) -> None:
    member.note(Ready(side_by_side))
    for is_plenty, count in ((False, few), (True, many)):
        while member.has_room_for(CacheInput("next", Path("next")), is_plenty=is_plenty):
            member.give(CacheInput(str(len(member.in_hand)), Path("some")))
        assert len(member.in_hand) == count


def test_the_report_counts_the_work_of_each_stage(clips: list[CacheInput], tmp_path: Path) -> None:
    for workers in (0, 1):
        report = build(clips, tmp_path / f"{workers}.zarr", encoder=Slow(), workers=workers)
        assert set(report.stage_seconds) == {"probe", "decode", "encode", "write"}
        assert all(seconds > 0 for seconds in report.stage_seconds.values())
        assert 1.0 <= report.stage_seconds["encode"] < 1.2  # four batches
        assert report.as_dict()["bottleneck"] == next(iter(report.shares)) == "encode"
        assert sum(report.shares.values()) == pytest.approx(1)


BUILD = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from cache_corpus import build
from cache_encoders import Slow
from ophclip.cache import find_inputs
if __name__ == "__main__":
    build(find_inputs([Path({folder!r})]), Path({out!r}), encoder=Slow(), workers=2, batch_size=1)
"""


def test_no_worker_outlives_a_supervisor_that_is_killed(
    clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    script = tmp_path / "script.py"
    here = [str(Path(__file__).parent)]
    script.write_text(BUILD.format(path=here, folder=str(clips[0].path.parent), out=str(path)))
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    await_true(lambda: len(list((path / "videos").glob(".tmp-*"))) == 2)
    workers = [child for child in psutil.Process(process.pid).children() if is_worker(child)]
    assert len(workers) == 2
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert (len(gone), alive) == (2, [])
    build(clips, path)
    assert tree(path) == tree(built)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_stops_the_workers_with_130_and_the_same_command_goes_on(
    number: signal.Signals, clips: list[CacheInput], built_frames: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    long = write_clip(tmp_path / "long.mp4", 9, seconds=400)
    files = [*(str(item.path) for item in clips), str(long)]
    command = [sys.executable, "-m", "ophclip.cli.main", "cache", "build", *files, "--out", str(path)]
    command += ["--stream", "frames", "--size", "16", "--fps", "2", "--workers", "2"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    await_true(lambda: list((path / "videos").glob("v*")) or list((path / "videos").glob(".tmp-*")))
    workers = [child for child in psutil.Process(process.pid).children() if is_worker(child)]
    os.killpg(process.pid, number)  # as a terminal sends Ctrl-C, and Slurm its SIGTERM: to everyone
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err.splitlines()[-2] == "error: interrupted"
    assert "Traceback" not in err
    assert not any(worker.is_running() for worker in workers)
    assert list((path / "videos").glob(".tmp-*")) == []
    report = build(clips, path, encoder=frame_rows(), workers=1)
    assert sorted([*report.committed, *report.skipped]) == ["v0", "v1", "v2", "v3"]
    assert {name: content for name, content in contents(path).items() if name != "long"} == contents(
        built_frames
    )


def test_two_builds_with_workers_at_once_equal_one(
    clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    others = [threading.Thread(target=partial(build, clips, path, workers=2)) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert tree(path) == tree(built)
    assert contents(path) == contents(built)
