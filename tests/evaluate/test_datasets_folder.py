# SPDX-License-Identifier: Apache-2.0
"""A dataset of one's own, from one table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ophclip.errors import UsageError
from ophclip.evaluate.check import check_dataset
from ophclip.evaluate.datasets import load_dataset
from ophclip.evaluate.prompts import load_prompts
from ophclip.video import write_video

PROMPTS = """
version = 1
[template]
phases = ["a view of {}"]
instruments = ["with the {}"]
negatives = ["no {}"]
[names.phases]
cut = "incision"
tear = "rhexis"
rest = "pause"
[description.phases]
cut = ["the blade enters"]
tear = ["the capsule is torn"]
rest = ["nothing is done"]
[names.instruments]
knife = "knife"
forceps = "forceps"
[description.instruments]
knife = ["a knife cuts"]
forceps = ["forceps hold"]
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    frames = [np.full((48, 64, 3), 9 * number, np.uint8) for number in range(20)]
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames, 4)  # five seconds
    (tmp_path / "prompts.toml").write_text(PROMPTS)
    return tmp_path


def table(root: Path, *rows: str, header: str = "path,start_s,end_s,phase,instruments,split") -> Path:
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def test_phases_and_instruments_of_each_second(own: Path) -> None:
    root = table(
        own, "a.mp4,0,2.5,cut,knife,test", "a.mp4,2.5,4,tear,forceps|knife,test", "b.mp4,0,5,rest,,train"
    )
    data = load_dataset("folder", root)
    assert data.phase_names == ["cut", "tear", "rest"]
    assert data.instrument_names == ["knife", "forceps"]
    (item,) = data.items  # the table has a split to test on
    assert item.phases is not None
    assert item.instruments is not None
    assert item.phases.tolist() == [0, 0, 0, 1]
    assert item.instruments.tolist() == [[1, 0], [1, 0], [1, 0], [1, 1]]
    assert [item.video_id for item in load_dataset("folder", root, split="all").items] == ["a", "b"]
    prompts = load_prompts(data.prompts)
    assert prompts.for_classes("phases", data.phase_names, "name").positives[1] == ["rhexis"]


def test_an_open_end_is_the_end_of_the_video(own: Path) -> None:
    root = table(own, "a.mp4,1,,cut", header="path,start_s,end_s,phase")
    data = load_dataset("folder", root)
    assert data.items[0].phases is not None
    assert data.items[0].phases.tolist() == [-1, 0, 0, 0, 0]
    assert data.items[0].instruments is None
    assert data.instrument_names == []


def test_instruments_alone_are_enough(own: Path) -> None:
    data = load_dataset("folder", table(own, "a.mp4,1,3,knife", header="path,start_s,end_s,instruments"))
    assert data.phase_names == []
    assert data.items[0].phases is None
    assert data.items[0].instruments is not None
    assert data.items[0].instruments.tolist() == [[0, 0], [1, 0], [1, 0]]


def test_without_prompts_the_classes_are_those_of_the_table(own: Path) -> None:
    (own / "prompts.toml").unlink()
    data = load_dataset(
        "folder", table(own, "a.mp4,0,1,sew", "a.mp4,1,2,cut", header="path,start_s,end_s,phase")
    )
    assert data.phase_names == ["sew", "cut"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["a.mp4,0,1,sew,,test"], r"labels\.csv:2: 'sew' must be one of the phases in prompts\.toml"),
        (["a.mp4,0,1,cut,spoon,test"], r"labels\.csv:2: 'spoon' must be one of the instruments"),
        (["a.mp4,1,1,cut,,test"], r"labels\.csv:2: end_s must be greater than start_s"),
        (["a.mp4,x,1,cut,,test"], r"labels\.csv:2: start_s must be a number"),
        ([",0,1,cut,,test"], r"labels\.csv:2: path must name a video"),
        (["a.mp4,0,1,cut,,test", "a.mp4,1,2,cut,,train"], r"the split must be one within a\.mp4"),
        (["x/a.mp4,0,1,cut,,test", "a.mp4,0,1,cut,,test"], r"labels\.csv:3: .* must differ in their names"),
        (["c.mp4,0,1,cut,,test"], r"1 of 1 videos of folder are missing, first .*c\.mp4"),
    ],
)
def test_bad_rows_are_refused_with_their_line(rows: list[str], says: str, own: Path) -> None:
    with pytest.raises(UsageError, match=says):
        load_dataset("folder", table(own, *rows))


def test_a_check_finds_labels_past_the_end_two_labels_and_empty_classes(own: Path) -> None:
    root = table(own, "a.mp4,0,3,cut,knife,test", "a.mp4,2,9,tear,forceps,test", "d.mp4,0,1,cut,knife,test")
    report = check_dataset("folder", root)
    assert report.exit_code == 4
    found = {(finding.kind, finding.line) for finding in report.defects}
    assert found >= {("past-end", 3), ("overlap", 3), ("missing-file", 4), ("empty-class", None)}
    assert [f.message for f in report.defects if f.kind == "empty-class"] == ["the class rest never occurs"]
    clean = check_dataset(
        "folder", table(own, "a.mp4,0,3,cut,knife,", "a.mp4,3,4,tear,forceps,", "a.mp4,4,5,rest,,")
    )
    assert clean.findings == []
