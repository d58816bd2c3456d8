# SPDX-License-Identifier: Apache-2.0
"""`--ray`: tasks of a real cluster, of which a worker is killed as it stores a video."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cache_corpus import Statistics, build, contents, tree, write_clip
from cache_encoders import OnWhite, Slow, crash, kill_parent, write_white

from ophclip.cache import CacheInput, open_cache
from ophclip.cache.cluster import MAX_TRIES
from ophclip.cache.cluster_task import store_some
from ophclip.cache.content import content_hash
from ophclip.cache.journal import read_failures
from ophclip.cache.messages import Fatal, Given, Setup
from ophclip.cache.verify import verify_cache
from ophclip.cli.main import main
from ophclip.errors import OphclipError

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of one machine with two processors."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv(
            "PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        )
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="warning")
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> CacheInput:
    """A video that `Slow` takes two seconds for, in batches of two frames."""
    return CacheInput("long", write_clip(tmp_path_factory.mktemp("long") / "long.mp4", 5, 8))


def task_workers() -> list[psutil.Process]:
    """The processes of the cluster that run a task of ours."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "ray::ophclip" in process.info["cmdline"][:1]
    ]


def await_true(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


def when_stored_in_part(path: Path, act: Callable[[], object]) -> threading.Thread:
    """Call `act` once some rows of the long video lie in the cache, uncommitted."""

    def wait() -> None:
        await_true(lambda: [chunk for chunk in path.glob("videos/.tmp-long@*/c/0/0") if chunk.stat().st_size])
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_worker_killed_as_it_stores_a_video_costs_nothing(
    cluster: None, clips: list[CacheInput], long_clip: CacheInput, tmp_path: Path
) -> None:
    inputs, out = [*clips[:2], long_clip], tmp_path / "c.zarr"
    killed: list[int] = []

    def kill() -> None:
        for process in task_workers():
            killed.append(process.pid)
            process.kill()

    thread = when_stored_in_part(out, kill)
    report = build(inputs, out, encoder=Slow(), batch_size=2, ray="")
    thread.join()
    assert killed
    assert sorted(report.committed + report.skipped) == ["long", "v0", "v1"]
    assert report.failed == {}
    build(inputs, tmp_path / "one.zarr")
    assert tree(out) == tree(tmp_path / "one.zarr")
    assert content_hash(open_cache(out)) == content_hash(open_cache(tmp_path / "one.zarr"))


def test_an_interrupted_build_stops_its_tasks_and_goes_on_later(
    cluster: None, clips: list[CacheInput], long_clip: CacheInput, tmp_path: Path
) -> None:
    import _thread

    inputs, out = [long_clip, clips[0]], tmp_path / "c.zarr"
    thread = when_stored_in_part(out, _thread.interrupt_main)
    with pytest.raises(KeyboardInterrupt):
        build(inputs, out, encoder=Slow(), batch_size=2, ray="", workers=1)
    thread.join()
    assert open_cache(out).ids == []
    await_true(lambda: not task_workers())
    assert list(out.glob("videos/.tmp-*")) == []
    assert verify_cache(out).findings == []
    assert len(build(inputs, out).committed) == 2


def test_bad_and_crashing_videos_fail_alone(
    cluster: None, clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    bad = CacheInput("bad", tmp_path / "bad.mp4")
    bad.path.write_bytes(b"no video")
    white = write_white(tmp_path / "white.mp4")
    out = tmp_path / "c.zarr"
    report = build([white, bad, *clips], out, encoder=OnWhite(crash), ray="")
    assert sorted(report.failed) == sorted(read_failures(out)) == ["bad", "white"]
    assert report.failed["white"].endswith("decoder crashed (signal 11)")
    assert contents(out) == contents(built)
    again = build([white, bad, *clips], out, encoder=OnWhite(crash), ray="")
    assert (again.not_retried, len(again.skipped)) == (["white", "bad"], 4)


def test_the_command_builds_on_the_cluster(
    cluster: None, clips: list[CacheInput], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c.zarr"
    frames = ["--stream", "frames", "--size", "16", "--fps", "2", "--device", "cpu", "--quiet"]
    with pytest.raises(SystemExit) as done:
        main(["cache", "build", str(clips[0].path), "--out", str(out), *frames, "--part", "1/1", "--ray"])
    assert done.value.code == 0
    assert "1 videos stored" in capsys.readouterr().out
    assert open_cache(out).ids == ["v0"]


def test_a_machine_that_does_not_see_the_cache_is_named(clips: list[CacheInput], tmp_path: Path) -> None:
    setup = Setup(tmp_path / "c.zarr", {}, Given(Statistics()), 2, "auto", 8, False, True)
    (message,) = store_some(setup.pickled(), clips, "cpu", None)
    assert isinstance(message, Fatal)
    assert isinstance(message.error, OphclipError)
    assert "does not see the cache" in message.error.message
    assert "s3://" in message.error.remedy
    assert not (tmp_path / "c.zarr").exists()


def test_a_video_on_which_every_worker_dies_fails_at_last(
    cluster: None, clips: list[CacheInput], built: Path, tmp_path: Path
) -> None:
    white = write_white(tmp_path / "white.mp4")
    out = tmp_path / "c.zarr"
    report = build([white, *clips], out, encoder=OnWhite(kill_parent), ray="")
    assert list(report.failed) == ["white"]
    assert f"its worker died {MAX_TRIES} times" in report.failed["white"]
    assert contents(out) == contents(built)
