# SPDX-License-Identifier: Apache-2.0
"""A power cut at any moment loses no committed video and shows no other, and each sync is needed for that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_corpus import check_visible, contents, provenance, random_rows, store, write_cache
from numpy.typing import NDArray
from power_cut import Disk, watch

from ophclip import console
from ophclip.cache.commit import CacheWriter
from ophclip.cache.journal import Commit
from ophclip.cache.verify import verify_cache
from ophclip.errors import OphclipError, UsageError

STEPS: list[tuple[str, NDArray[Any], bytes]] = [
    ("a", random_rows(1, 3), b"source"),
    ("b", random_rows(2, 4), b"source"),
    ("a", random_rows(3, 5), b"changed"),  # replaces the first
]
MIXES = 3  # states a moment beside the worst
HARM = "a committed video is gone|is not what was stored|metadata of other rows|damaged: |Finding"


class PowerCuts:
    """Writes the steps; at every moment cuts the power in several ways and checks what is left."""

    def __init__(self, tmp_path: Path, writer: type[CacheWriter], left_out: Callable[[Path], bool]) -> None:
        self.root = tmp_path / "disk"
        self.root.mkdir()
        self.disk = Disk(self.root, left_out)
        self.num_states = self.num_resumed = 0
        self._writer, self._state = writer, tmp_path / "state"
        self._rng = np.random.default_rng(4)
        self._versions = self._contents_of_each_step(tmp_path)
        self._committed: dict[str, Any] = {}
        self._in_hand: dict[str, Any] = {}
        self._is_checking = False

    def run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patches:
            watch(self.disk, patches, self.moment)
            with self._writer(self.root / "c.zarr", provenance()) as writer:
                for (video_id, rows, source), content in zip(STEPS, self._versions, strict=True):
                    self._in_hand = {video_id: content}
                    store(writer, video_id, rows, source)
                    self._committed |= self._in_hand
                    self._in_hand = {}
                    self.moment()
        self.disk.close()

    def moment(self) -> None:
        if self._is_checking:
            return  # the check, and the writer that goes on, sync too
        self._is_checking = True
        for number in range(1 + MIXES):
            self.disk.after_a_power_cut(self._state, self._rng if number else None)
            self._check(self._state / "c.zarr")
            shutil.rmtree(self._state)
            self.num_states += 1
        self._is_checking = False

    def _check(self, path: Path) -> None:
        try:
            seen = check_visible(path, self._committed, self._in_hand)
        except UsageError:
            seen = set()  # no cache yet
        except OphclipError as error:
            raise AssertionError(f"damaged: {error}") from error
        assert self._committed.keys() - self._in_hand.keys() <= seen, "a committed video is gone"
        if self.num_states % 5 == 0:
            write_cache(path, {video_id: rows for video_id, rows, _ in STEPS[:2]})
            assert verify_cache(path).findings == []
            self.num_resumed += 1

    def _contents_of_each_step(self, tmp_path: Path) -> list[Any]:
        versions = []
        for number, (video_id, rows, _) in enumerate(STEPS):
            write_cache(tmp_path / f"{number}.zarr", {video_id: rows})
            versions.append(contents(tmp_path / f"{number}.zarr")[video_id])
        return versions


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    console.set_quiet(True)
    yield
    console.set_quiet(False)


def test_a_power_cut_at_any_moment_loses_nothing_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = PowerCuts(tmp_path, CacheWriter, lambda path: False)
    cuts.run(monkeypatch)
    print(f"{cuts.num_states} states, of which {cuts.num_resumed} were gone on with")
    assert cuts.num_states > 300


def is_in_videos(path: Path) -> bool:
    return path.parts[:2] == ("c.zarr", "videos") and len(path.parts) > 2


@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param(lambda path: path == Path(), id="the folder that holds the cache"),
        pytest.param(lambda path: path == Path("c.zarr"), id="the cache"),
        pytest.param(lambda path: path.match("c.zarr/.zarr.json.*"), id="its metadata"),
        pytest.param(lambda path: path == Path("c.zarr/videos"), id="the folder of videos"),
        pytest.param(lambda path: is_in_videos(path) and path.match("c/0/0"), id="the rows"),
        pytest.param(lambda path: is_in_videos(path) and path.name == "zarr.json", id="their metadata"),
        pytest.param(lambda path: is_in_videos(path) and path.match("*/c/0"), id="the folder of the rows"),
        pytest.param(lambda path: path.match("c.zarr/videos/.tmp-*"), id="the folder of the video"),
        pytest.param(lambda path: path == Path("c.zarr/_journal"), id="the folder of the journal"),
        pytest.param(lambda path: path.match("_journal/commits-*"), id="the journal line"),
    ],
)
def test_without_any_one_of_its_syncs_a_power_cut_does_harm_that_the_check_finds(
    left_out: Callable[[Path], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match=HARM):
        PowerCuts(tmp_path, CacheWriter, left_out).run(monkeypatch)


class JournalFirst(CacheWriter):
    """The wrong order: the line before the folder is in place."""

    def _publish(self, temporary: Path, commit: Commit) -> Commit:
        self._journal.commit(commit)
        temporary.rename(self.path / "videos" / commit.folder)
        return commit


class UnsyncedFolder(CacheWriter):
    """The wrong order: the line before the rename is on disk."""

    def _publish(self, temporary: Path, commit: Commit) -> Commit:
        temporary.rename(self.path / "videos" / commit.folder)
        self._journal.commit(commit)
        os.fsync(os.open(self.path / "videos", os.O_RDONLY))
        return commit


@pytest.mark.parametrize("writer", [JournalFirst, UnsyncedFolder])
def test_a_writer_with_a_wrong_order_is_caught(
    writer: type[CacheWriter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match=HARM):
        PowerCuts(tmp_path, writer, lambda path: False).run(monkeypatch)
