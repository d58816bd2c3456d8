# SPDX-License-Identifier: Apache-2.0
"""A plan says beforehand what a build then does, and names the files that are bad or odd."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from cache_corpus import Statistics, build, frame_rows, write_clip

from ophclip.cache import CacheInput, open_cache
from ophclip.cache.looking import Looking
from ophclip.cache.measure import measure
from ophclip.cache.plan import Plan, Planned, plan_cache
from ophclip.cache.survey import survey_file
from ophclip.errors import OphclipError, UsageError
from ophclip.video import open_source, probe, write_video


def encode(
    path: Path,
    times: list[int],
    time_base: Fraction = Fraction(1, 1000),
    *,
    size: tuple[int, int] = (32, 32),
    audio_s: float = 0,
    codec: str = "libx264",
    rotation: int = 0,
    interlaced: bool = False,
) -> Path:
    """Write a video whose frames show at `times`, with silence beside it for `audio_s`."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = time_base
        if codec == "libx264":
            field_order = {"x264-params": "tff=1"} if interlaced else {}
            stream.codec_context.options = {"preset": "ultrafast"} | field_order
        if rotation:
            stream.set_display_rotation(rotation)
        sound: Any = output.add_stream("aac", rate=8000) if audio_s else None
        for number, pts in enumerate(times):
            pixels = np.full((size[1], size[0], 3), 7 * number % 256, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = pts, time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        for begin in range(0, int(audio_s * 8000), 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts, silence.time_base = 8000, begin, Fraction(1, 8000)
            output.mux(sound.encode(silence))
        if sound:
            output.mux(sound.encode(None))
    return path


EVEN = [40 * number for number in range(100)]


def plan_of(*paths: Path, out: Path | None = None, fps: float = 2) -> Plan:
    inputs = [CacheInput(path.stem, path) for path in paths]
    return plan_cache(inputs, out or paths[0].parent / "c.zarr", encoder=Statistics(), fps=fps)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "webm", "mov"])
@pytest.mark.parametrize("seconds", [2.5, 4])
def test_the_frames_planned_are_those_that_a_build_stores(
    suffix: str, seconds: float, tmp_path: Path
) -> None:
    path = tmp_path / f"v.{suffix}"
    picture = np.full((32, 32, 3), 90, dtype=np.uint8)
    codec: Any = "vp9" if suffix == "webm" else "h264"
    write_video(path, (picture for _ in range(int(seconds * 10))), 10, codec)
    plan = plan_of(path)
    build([CacheInput("v", path)], tmp_path / "c.zarr")
    assert plan.videos[0].frames == open_cache(tmp_path / "c.zarr").num_frames("v")
    assert plan.videos[0].warnings == []
    assert plan.hours(plan.readable) * 3600 == pytest.approx(probe(path).duration_s, abs=0.002)


def test_a_whole_file_of_even_frames_raises_no_suspicion(tmp_path: Path) -> None:
    for name in ("v.mp4", "v.mkv", "v.ts"):
        assert survey_file(encode(tmp_path / name, EVEN)).warnings == []
    assert survey_file(encode(tmp_path / "sound.mp4", EVEN, audio_s=4)).warnings == []


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "v.mp4",
            {"times": [0, 40, 80, 400, 440, 900, *range(1000, 3000, 40)]},
            "variable frame rate: 40 to ",
        ),
        (
            "v.mkv",
            {"times": [0, 40, 80, 400, 440, 900, *range(1000, 3000, 40)]},
            "variable frame rate: 40 to ",
        ),
        ("v.mp4", {"times": EVEN, "rotation": 90}, "rotated by "),
        ("v.mp4", {"times": EVEN, "interlaced": True}, "interlaced"),
        ("v.mp4", {"times": [0, 1000, 2000], "size": (4608, 2592)}, "4608x2592 pixels decode slowly"),
        ("v.mp4", {"times": EVEN[:25]}, "only 1.0 s long"),
        ("v.mp4", {"times": EVEN, "audio_s": 9}, "its video lasts 4.0 of 9."),
        ("v.mkv", {"times": [0, 20_000, 40_000, 13 * 3600_000]}, "13.0 hours long"),
        ("v.mkv", {"times": [0, 5000, 10_000, 15_000, 20_000]}, "fewer than 2: rows repeat"),
    ],
)
def test_what_is_odd_about_a_video_is_said(
    name: str, options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    plan = plan_of(encode(tmp_path / name, **options))
    assert [says in warning for warning in plan.videos[0].warnings].count(True) == 1, plan.videos[0].warnings
    assert plan.suspicious == plan.videos


def test_copies_of_a_file_are_named(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.mp4", 1)
    shutil.copy(first, tmp_path / "b.mp4")
    plan = plan_of(first, tmp_path / "b.mp4", write_clip(tmp_path / "c.mp4", 2))
    assert [video.warnings for video in plan.videos] == [
        [],
        ["seems to be a copy of a: equal size and first 64 KiB"],
        [],
    ]


def bad_files(folder: Path) -> dict[str, Path]:
    whole = encode(folder / "whole.mp4", EVEN)
    (folder / "cut.mp4").write_bytes(whole.read_bytes()[:-100])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video\n" * 99)
    (folder / "folder.mp4").mkdir()
    with av.open(str(folder / "sound.mp4"), "w") as output:
        sound: Any = output.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        output.mux(sound.encode(silence))
        output.mux(sound.encode(None))
    noise = bytearray(encode(folder / "noise.mp4", EVEN).read_bytes())
    begin = noise.index(b"mdat")
    noise[begin + 4 : begin + 1500] = np.random.default_rng(1).bytes(1496)
    (folder / "noise.mp4").write_bytes(noise[: len(whole.read_bytes())])
    names = ("cut", "empty", "text", "folder", "sound", "gone")
    return {name: folder / f"{name}.mp4" for name in names}


def test_files_that_cannot_be_read_are_listed_with_the_reason(tmp_path: Path) -> None:
    bad = bad_files(tmp_path)
    plan = plan_of(tmp_path / "whole.mp4", *bad.values())
    reasons = {video.video_id: video.reason for video in plan.unreadable}
    assert reasons.keys() == bad.keys()
    assert "truncated" in reasons["cut"]
    assert "the file is empty" in reasons["empty"]
    assert "cannot be read as video" in reasons["text"]
    assert "must be a video file" in reasons["folder"]
    assert "no video stream" in reasons["sound"]
    assert "No such file" in reasons["gone"]
    assert [video.video_id for video in plan.readable] == ["whole"]


def write_hanging(path: Path) -> Path:
    """Write an MPEG stream that goes on with terabytes of nothing, without taking their space."""
    encode(path, list(range(100)), Fraction(1, 25), codec="mpeg1video")
    with path.open("r+b") as file:
        file.truncate(4 << 40)
    return path


def test_files_that_hang_are_said_to_and_the_others_are_looked_at(tmp_path: Path) -> None:
    hanging = [write_hanging(tmp_path / f"hanging{number}.mpg") for number in range(3)]
    good = [encode(tmp_path / f"good{number}.mp4", EVEN) for number in range(3)]
    inputs = [CacheInput(path.stem, path) for path in (*hanging, *good)]
    before = multiprocessing.active_children()
    begin = time.monotonic()
    plan = plan_cache(inputs, tmp_path / "c.zarr", encoder=Statistics(), fps=2, processes=2, deadline_s=1.5)
    assert time.monotonic() - begin < 60, "hours, if it waited for one of them"
    assert [video.video_id for video in plan.readable] == ["good0", "good1", "good2"]
    assert {video.reason for video in plan.unreadable} == {
        f"{path}: hangs: its header and first packets were not read in 1.5 s" for path in hanging
    }
    assert multiprocessing.active_children() == before


def sleep_or_die(number: int) -> str:
    if number % 4 == 1:
        time.sleep(3600)
    if number % 8 == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    return str(number)


def test_looking_keeps_the_order_and_survives_what_hangs_or_crashes() -> None:
    before = multiprocessing.active_children()
    looking = Looking(
        range(20),
        sleep_or_die,
        allowed_s=lambda number: 0.3 if number % 4 == 1 else 60,
        late=lambda number, seconds: f"{number} in {seconds}",
        dead=lambda number, how: f"{number} by {how}",
    )
    expected = {number: f"{number} in 0.3" for number in range(1, 20, 4)}
    expected |= {number: f"{number} by signal 11" for number in range(2, 20, 8)}
    assert list(looking.results(2)) == [expected.get(number, str(number)) for number in range(20)]
    assert multiprocessing.active_children() == before


def test_a_script_without_a_guard_is_told_so_and_nothing_is_said_of_its_videos(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "v.mp4", 1)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from ophclip.cache import CacheInput, FrameRows\n"
        "from ophclip.cache.plan import plan_cache\n"
        "from ophclip.video import Geometry\n"
        f"inputs = [CacheInput('v', Path({str(path)!r}))]\n"
        "print(plan_cache(inputs, Path('c.zarr'), encoder=FrameRows(Geometry(16, 16)), fps=1).readable)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "ended at start-up (exit code 1); see above" in done.stderr


def test_a_container_that_declares_no_length_is_measured(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mkv", EVEN).read_bytes()
    position = whole.index(b"\x44\x89\x88")  # Duration, a float of 8 bytes
    live = bytearray(whole)
    live[position : position + 2] = b"\xec\x89"  # Void, of the same size
    live[position : position + 3] = b"\xec\x89\x00"
    (tmp_path / "live.mkv").write_bytes(live)
    survey = survey_file(tmp_path / "live.mkv")
    assert survey.duration_s == pytest.approx(4.0, abs=0.05)
    assert "its container declares no length" in survey.warnings


def test_bytes_are_those_that_a_build_takes_on_disk(tmp_path: Path) -> None:
    inputs = [CacheInput(f"v{n}", write_clip(tmp_path / f"v{n}.mp4", n, 30)) for n in range(3)]
    for encoder in (Statistics(), frame_rows()):
        out = tmp_path / f"{encoder.name}.zarr"
        planned = plan_cache(inputs, out, encoder=encoder, fps=2).needed_bytes
        build(inputs, out, encoder=encoder)
        taken = sum(512 * file.stat().st_blocks for file in out.rglob("*") if file.is_file())
        assert 0.7 * taken < planned < 1.5 * taken


def test_what_is_stored_already_is_not_counted_again(tmp_path: Path) -> None:
    inputs = [CacheInput(f"v{n}", write_clip(tmp_path / f"v{n}.mp4", n)) for n in range(3)]
    out = tmp_path / "c.zarr"
    build(inputs[:2], out)
    write_clip(inputs[1].path, 8, 5)
    plan = plan_cache(inputs, out, encoder=Statistics(), fps=2)
    assert [video.is_stored for video in plan.videos] == [True, False, False]
    facts = plan.as_dict()
    assert (facts["stored_already"], facts["frames"], facts["frames_to_do"]) == (1, 22, 16)
    assert facts["fits"]


def test_nothing_is_written(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "v.mp4", 1)
    plan_of(path, out=tmp_path / "new" / "c.zarr")
    assert list(tmp_path.iterdir()) == [path]


def test_videos_are_grouped_by_codec_and_size(tmp_path: Path) -> None:
    plan = plan_of(
        encode(tmp_path / "a.mp4", EVEN),
        encode(tmp_path / "b.mp4", EVEN),
        encode(tmp_path / "c.webm", EVEN, size=(64, 48), codec="libvpx-vp9"),
    )
    assert plan.groups() == {
        "h264 32x32": {"videos": 2, "hours": pytest.approx(8 / 3600, abs=1e-4)},
        "vp9 64x48": {"videos": 1, "hours": pytest.approx(4 / 3600, abs=1e-4)},
    }


def test_the_time_is_estimated_from_real_work(tmp_path: Path) -> None:
    inputs = [CacheInput(f"v{n}", write_clip(tmp_path / f"v{n}.mp4", n, 20)) for n in range(4)]
    encoder = Statistics()
    plan = plan_cache(inputs, tmp_path / "c.zarr", encoder=encoder, fps=2)
    measure(plan, open_source("pyav", geometry=encoder.geometry), encoder, seconds=3)
    assert plan.measured_s == pytest.approx(80)
    assert plan.eta_s is not None
    assert 0 < plan.eta_s < math.inf
    assert plan.unreadable == []


def test_a_video_that_cannot_be_decoded_shows_as_the_time_is_measured(tmp_path: Path) -> None:
    class Failing(Statistics):
        def __call__(self, frames: Any) -> Any:
            raise OphclipError("cannot be encoded", remedy="none")

    inputs = [CacheInput("v", write_clip(tmp_path / "v.mp4", 1))]
    plan = plan_cache(inputs, tmp_path / "c.zarr", encoder=Failing(), fps=2)
    measure(plan, open_source("pyav", geometry=Failing().geometry), Failing(), seconds=1)
    assert [video.reason for video in plan.unreadable] == ["decoding failed: cannot be encoded; none"]
    assert plan.eta_s is None


def test_a_rate_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fps must be a positive number"):
        plan_of(write_clip(tmp_path / "v.mp4", 1), fps=0)


def test_an_empty_plan_is_empty() -> None:
    facts = Plan([Planned("v", Path("v.mp4"), reason="gone")], 1.0).as_dict()
    assert (facts["readable"], facts["hours"], facts["frames"], facts["groups"]) == (0, 0.0, 0, {})
