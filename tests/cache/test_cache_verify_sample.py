# SPDX-License-Identifier: Apache-2.0
"""A share of the frames is decoded anew: other rows are found, and what cannot be decoded is no damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_corpus import (
    Statistics,
    build,
    frame_rows,
    write_clip,
)
from damage import edit, found, metadata_of
from numpy.typing import NDArray

from ophclip.cache import CacheInput, open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.journal import Commit, JournalWriter
from ophclip.cache.verify import verify_cache
from ophclip.errors import UsageError


def test_a_share_of_frames_is_decoded_anew_and_equal(built: Path, built_frames: Path) -> None:
    total = sum(open_cache(built_frames).num_frames(video_id) for video_id in open_cache(built_frames))
    report = verify_cache(built_frames, sample=1)
    assert (report.findings, report.unchecked, report.frames_decoded) == ([], {}, total)
    report = verify_cache(built, sample=0.3, encoder=Statistics(), seed=3)
    assert (report.findings, report.unchecked) == ([], {})
    assert 0 < report.frames_decoded < 0.6 * total


def stored_as(path: Path, source: Path, video_id: str, rows: NDArray[Any], original: Path) -> None:
    """Enter rows of one's own, with right checksums, for a video: what only decoding anew can tell."""
    beside = open_cache(original).attributes(video_id)
    commit = open_cache(original)
    with CacheWriter(path, commit.provenance) as writer:
        writer.store(
            video_id,
            [rows],
            beside,  # type: ignore[arg-type]
            source_path=str(source),
            source_mtime_ns=commit.source_mtime_ns(video_id),
        )


def test_rows_of_other_frames_are_found_by_decoding_anew(
    clips: list[CacheInput], built: Path, built_frames: Path, tmp_path: Path
) -> None:
    for original, encoder in ((built, Statistics()), (built_frames, None)):
        path = tmp_path / original.name
        wrong = np.array(open_cache(original)["v1"])
        wrong[2] = wrong[5]
        stored_as(path, clips[1].path, "v1", wrong, original)
        assert verify_cache(path).findings == []
        report = verify_cache(path, sample=1, encoder=encoder)
        assert found(report) == [("v1", "sample")]
        assert report.findings[0].what.startswith(f"row 2 differs from its frame in {clips[1].path} by ")


def test_a_frame_of_the_same_decoder_must_be_exact_and_of_another_version_near(
    clips: list[CacheInput], built_frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.zarr"
    near = np.array(open_cache(built_frames)["v1"])
    near[3, 0, 0, 0] ^= 1
    stored_as(path, clips[1].path, "v1", near, built_frames)
    (finding,) = verify_cache(path, sample=1).findings
    assert finding.what.endswith("by 0.00 of 255 levels in the mean, 1 at most")
    monkeypatch.setattr("ophclip.video.decode_pyav.PyavSource.version", "0.1 libavcodec 1")
    assert verify_cache(path, sample=1).findings == []
    near[3] = 255 - near[3]
    stored_as(tmp_path / "far.zarr", clips[1].path, "v1", near, built_frames)
    assert found(verify_cache(tmp_path / "far.zarr", sample=1)) == [("v1", "sample")]


def test_a_video_file_that_is_gone_or_has_changed_is_no_damage(tmp_path: Path) -> None:
    inputs = [CacheInput(f"v{n}", write_clip(tmp_path / f"v{n}.mp4", n)) for n in range(4)]
    build(inputs, tmp_path / "c.zarr", encoder=frame_rows())
    inputs[0].path.unlink()
    write_clip(inputs[1].path, 9)
    inputs[2].path.touch()
    report = verify_cache(tmp_path / "c.zarr", sample=1)
    assert report.findings == []
    assert report.unchecked == {
        "v0": f"{inputs[0].path} is gone",
        "v1": f"{inputs[1].path} has changed since its rows were stored",
    }
    assert report.frames_decoded == 12


def test_a_decoder_that_is_not_here_is_no_damage(
    clips: list[CacheInput], built_frames: Path, tmp_path: Path
) -> None:
    stored_as(tmp_path / "c.zarr", clips[1].path, "v1", open_cache(built_frames)["v1"], built_frames)
    journal = JournalWriter(tmp_path / "c.zarr")
    edit(metadata_of(tmp_path / "c.zarr", "v1"), lambda a: a.update(decoder="vlc 3"))
    stat = clips[1].path.stat()
    sha256 = open_cache(built_frames).attributes("v1")["source_sha256"]
    shape = open_cache(built_frames)["v1"].shape
    journal.commit(Commit("v1", "v1", shape, str(clips[1].path), stat.st_size, stat.st_mtime_ns, sha256))
    journal.close()
    report = verify_cache(tmp_path / "c.zarr", sample=1)
    assert (report.findings, report.unchecked) == ([], {"v1": "its decoder 'vlc 3' is not known here"})


def test_features_need_their_own_encoder(built: Path) -> None:
    with pytest.raises(UsageError, match="holds the rows of the encoder 'statistics'") as caught:
        verify_cache(built, sample=0.5)
    assert "--encoder" in caught.value.remedy
    with pytest.raises(UsageError, match="was built with key"):
        verify_cache(built, sample=0.5, encoder=Statistics("two"))
    with pytest.raises(UsageError, match=r"sample must lie in \[0, 1\], got 2"):
        verify_cache(built, sample=2)
