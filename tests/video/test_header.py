# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ophclip.errors import OphclipError
from ophclip.video import probe, write_video
from ophclip.video.header import SUFFIXES, stated_duration_s


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_the_header_states_what_demuxing_finds(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_video(path, (np.full((32, 32, 3), index, np.uint8) for index in range(50)), 12)
    assert stated_duration_s(path) == pytest.approx(probe(path).duration_s, abs=0.1)
    assert suffix in SUFFIXES


def test_what_states_no_length_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    write_video(tmp_path / "whole.mp4", (np.zeros((32, 32, 3), np.uint8) for _ in range(50)), 12)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:-200])
    for name in ("empty", "text", "cut", "absent"):
        with pytest.raises(OphclipError, match=f"{name}.mp4"):
            stated_duration_s(tmp_path / f"{name}.mp4")
