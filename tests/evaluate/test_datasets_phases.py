# SPDX-License-Identifier: Apache-2.0
"""Cataract-21, Cataract-101, Cataract-1K: simulated downloads against what was drawn, and hand-made ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from layout_folders import Layout

from ophclip.corpus.simulate.layouts.footage import phase_at
from ophclip.corpus.simulate.layouts.phases import CATARACT_1K_PHASES, CATARACT_PHASES, named_segments
from ophclip.corpus.simulate.layouts.plan import Named
from ophclip.corpus.simulate.production import Script
from ophclip.errors import UsageError
from ophclip.evaluate.datasets import Dataset, load_dataset

Scripts = Callable[[str], list[Script]]


def said(data: Dataset, video: int) -> list[str]:
    """Return the names of a video's labels, a dot where there is none."""
    phases = data.items[video].phases
    assert phases is not None
    return [data.phase_names[label] if label >= 0 else "." for label in phases]


def drawn(script: Script, names: Named, seconds: int) -> list[str]:
    """Return the key of the phase that is drawn at each second, a dot where the eye rests."""
    spans = list(named_segments(script, names))
    return [
        next((key for key, _, start_s, end_s in spans if key and start_s <= second < end_s), ".")
        for second in range(seconds)
    ]


@pytest.mark.parametrize(
    ("name", "names"),
    [("cat21", CATARACT_PHASES), ("cataract1k-phase", CATARACT_1K_PHASES)],
)
def test_each_second_has_the_phase_that_was_drawn(
    name: str, names: Named, layout: Layout, scripts: Scripts
) -> None:
    data = load_dataset(name, layout(name), split="all")
    assert len(data.items) == 3
    by_id = {item.video_id: number for number, item in enumerate(data.items)}
    for script, video_id in zip(scripts(name), sorted(by_id), strict=True):
        found = said(data, by_id[video_id])
        expected = drawn(script, names, 16)
        assert found == expected[: len(found)]
        assert set(expected[len(found) :]) <= {"."}
        assert len(set(found)) > 2


def test_cataract_101_lets_a_phase_last_until_the_next_one(layout: Layout, scripts: Scripts) -> None:
    data = load_dataset("cataract101", layout("cataract101"))
    for number, script in enumerate(scripts("cataract101")):
        expected: list[str] = []
        for key in drawn(script, CATARACT_PHASES, 16):
            expected.append(expected[-1] if key == "." and expected else key)
        assert said(data, number) == expected
        assert phase_at(script, 0) != "idle" or expected[0] == "."


def test_cataract_21_scores_its_validation_videos(layout: Layout) -> None:
    root = layout("cat21")
    assert [item.video_id for item in load_dataset("cat21", root).items] == ["case_01"]
    assert len(load_dataset("cat21", root, split="train").items) == 2
    with pytest.raises(UsageError, match=r"has no test videos, got the splits: train, val"):
        load_dataset("cat21", root, split="test")


@pytest.mark.parametrize("name", ["cataract101", "cataract1k-phase"])
def test_without_an_official_split_all_videos_are_scored(name: str, layout: Layout) -> None:
    everything = load_dataset(name, layout(name), split="all")
    assert [item.video_id for item in load_dataset(name, layout(name)).items] == [
        item.video_id for item in everything.items
    ]


def test_gaps_of_cataract_1k_are_idle_where_background_is_kept(layout: Layout) -> None:
    without = load_dataset("cataract1k-phase", layout("cataract1k-phase"))
    kept = load_dataset("cataract1k-phase", layout("cataract1k-phase"), keep_background=True)
    assert kept.phase_names == [*without.phase_names, "idle"]
    gaps = 0
    for number in range(3):
        one, other = said(without, number), said(kept, number)
        first = next(second for second, label in enumerate(one) if label != ".")
        assert other[:first] == one[:first]  # before the first phase nothing is said
        assert other[first:] == ["idle" if label == "." else label for label in one[first:]]
        gaps += other.count("idle")
    assert gaps > 0
    assert "idle seconds are not scored" in without.notes
    assert "idle seconds are a class" in kept.notes


# Hand-made files from here on: what a label says at the edge of a second, and what is refused.


def video(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not looked into")
    return path


def cat21(root: Path, text: str) -> Path:
    table = video(root / "validation" / "a.mp4").with_suffix(".csv")
    table.write_text(text)
    (root / "training").mkdir(exist_ok=True)
    return root


def cataract101(
    root: Path, annotations: str, *, videos: str = "9;250;25;1;1", phases: str = "1;Incision\n2;Rhexis"
) -> Path:
    video(root / "videos" / "case_9.mp4")
    (root / "videos.csv").write_text(f"VideoID;Frames;FPS;Surgeon;Experience\n{videos}\n")
    (root / "phases.csv").write_text(f"Phase;Meaning\n{phases}\n")
    (root / "annotations.csv").write_text(f"VideoID;FrameNo;Phase\n{annotations}\n")
    return root


def cataract1k(root: Path, rows: str, *, facts: str = "5,1024,768,900,30") -> Path:
    video(root / "videos" / "case_5.mp4")
    folder = root / "annotations" / "case_5"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case_5_annotations_phases.csv").write_text(
        f"caseId,comment,frame,endFrame,sec,endSec\n{rows}\n"
    )
    (folder / "case_5_video.csv").write_text(f"caseId,width,height,frames,fps\n{facts}\n")
    return root


def test_a_frame_exactly_on_a_second_belongs_to_the_phase_that_starts_there(tmp_path: Path) -> None:
    data = load_dataset("cataract101", cataract101(tmp_path, "9;25;1\n9;75;2"))
    assert said(data, 0) == [".", "incision", "incision", *["rhexis"] * 7]
    later = load_dataset("cataract101", cataract101(tmp_path, "9;26;1\n9;76;2"))
    assert said(later, 0) == [".", ".", "incision", "incision", *["rhexis"] * 6]


def test_a_broken_frame_rate_counts_exactly(tmp_path: Path) -> None:
    # 2997 frames of 29.97 a second are 100 seconds; in binary fractions a little more.
    data = load_dataset(
        "cataract1k-phase", cataract1k(tmp_path, "5,Incision,0,2997,0,100", facts="5,1,1,1,29.97")
    )
    assert len(said(data, 0)) == 100
    later = cataract1k(tmp_path, "5,Incision,2997,3027,100,101", facts="5,1,1,1,29.97")
    assert said(load_dataset("cataract1k-phase", later), 0)[99:] == [".", "incision", "incision"]


def test_the_rate_of_cataract_1k_is_that_of_column_five(tmp_path: Path) -> None:
    slow = load_dataset("cataract1k-phase", cataract1k(tmp_path, "5,Incision,0,300", facts="5,1,1,1,60"))
    assert said(slow, 0) == ["incision"] * 5


def test_the_spellings_of_the_files_are_known(tmp_path: Path) -> None:
    rows = "5,Capsule Pulishing,0,30\n5,Viscoelastic_Suction,30,60\n5,Anterior_Chamber Flushing,60,90"
    data = load_dataset("cataract1k-phase", cataract1k(tmp_path, rows))
    assert said(data, 0) == ["capsule_polishing", "viscoelastic_suction", "anterior_chamber_flushing"]
    german = "0,Phako\n25,Tonisieren\n50,Antibiotikum\n75,Phacoemulsificiation\n"
    found = said(load_dataset("cat21", cat21(tmp_path / "cat21", german)), 0)
    assert found == ["phacoemulsification", *["tonifying_and_antibiotics"] * 2, "phacoemulsification"]


def test_a_byte_order_mark_and_either_line_ending_are_accepted(tmp_path: Path) -> None:
    root = cataract101(tmp_path, "9;0;1")
    for table in root.glob("*.csv"):
        table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    assert said(load_dataset("cataract101", root), 0) == ["incision"] * 10


def test_rows_of_cataract_21_may_be_sparse_and_holes_stay_open(tmp_path: Path) -> None:
    rows = "".join(f"{frame},Rhexis\n" for frame in (0, 5, 10, 15, 20, 25))
    data = load_dataset("cat21", cat21(tmp_path, f"{rows}100,Rhexis\n105,not_initialized\n"))
    assert said(data, 0) == ["rhexis", "rhexis", ".", ".", "rhexis"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0,Rhexis\n1,Rexis\n", r"a\.csv:2: the label must be one of cat-21's, got 'Rexis'"),
        ("0,Rhexis\nx,Rhexis\n", r"a\.csv:2: the frame must be a number of 0 or more, got 'x'"),
        ("0,Rhexis\n-1,Rhexis\n", r"a\.csv:2: the frame must be a number of 0 or more, got '-1'"),
        ("0,Rhexis\n1.5,Rhexis\n", r"a\.csv:2: the frame must be a whole number, got '1\.5'"),
        ("0,Rhexis\n1,Rhexis,2\n", r"a\.csv:2: the label must be one of cat-21's, got 'Rhexis,2'"),
        ("5,Rhexis\n5,Incision\n", r"a\.csv:2: the frame is there twice"),
        ("5,Rhexis\n4,Rhexis\n", r"a\.csv:2: frames must rise, got 4 after 5"),
        ("0,Rhexis\n1\n", r"a\.csv:2: a row must be frame,label, got '1'"),
        ("", r"a\.csv:1: must hold rows frame,label, got an empty file"),
    ],
)
def test_bad_rows_of_cataract_21_are_refused_with_their_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_dataset("cat21", cat21(tmp_path, text))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ({"annotations": "9;0;3"}, r"annotations\.csv:2: phase '3' is not in phases\.csv"),
        ({"annotations": "9;0;1\n8;0;1"}, r"annotations\.csv:3: video 8 is not in videos\.csv"),
        ({"annotations": "9;250;1"}, r"annotations\.csv:2: the phase must start before .* 250 frames end"),
        ({"annotations": "9;0"}, r"annotations\.csv:2: a row must have 3 fields, got 2"),
        ({"annotations": "9;zero;1"}, r"annotations\.csv:2: FrameNo must be a number"),
        ({"annotations": ""}, r"videos\.csv:2: video 9 has no row in annotations\.csv"),
        (
            {"annotations": "9;0;1", "videos": "9;250;25;1;1\n9;2;25;1;1"},
            r"videos\.csv:3: VideoID must be unique",
        ),
        ({"annotations": "9;0;1", "videos": "9;250;0;1;1"}, r"videos\.csv:2: FPS must be 1 or more, got '0'"),
        ({"annotations": "9;0;1", "phases": "1;Lunch"}, r"phases\.csv:2: the meaning must be one of"),
        ({"annotations": "9;0;1", "phases": "1;Rhexis\n1;Incision"}, r"phases\.csv:3: phase 1 has a second"),
    ],
)
def test_bad_rows_of_cataract_101_are_refused(tmp_path: Path, spoil: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_dataset("cataract101", cataract101(tmp_path, **spoil))


def test_commas_in_place_of_semicolons_are_named(tmp_path: Path) -> None:
    root = cataract101(tmp_path, "9;0;1")
    table = root / "annotations.csv"
    table.write_text(table.read_text().replace(";", ","))
    with pytest.raises(UsageError, match=r"annotations\.csv:1: the header must have VideoID, FrameNo, Phase"):
        load_dataset("cataract101", root)


@pytest.mark.parametrize(
    ("rows", "facts", "says"),
    [
        ("5,Lunch,0,30", "5,1,1,1,30", r"phases\.csv:2: the phase must be one of Cataract-1K's, got 'Lunch'"),
        ("5,Incision,30,0", "5,1,1,1,30", r"phases\.csv:2: the last frame must not precede the first"),
        ("5,Incision", "5,1,1,1,30", r"phases\.csv:2: a row must have case, phase"),
        ("5,Incision,0,30", "5,1,1,1", r"video\.csv:1: must have a header and one row with the fps"),
        ("5,Incision,0,30", "5,1,1,1,0", r"video\.csv:2: the fps in column 5 must be 1 or more"),
        ("5,Incision,0,30", "5,1,1,1,nan", r"video\.csv:2: the fps in column 5 must be a number"),
    ],
)
def test_bad_rows_of_cataract_1k_are_refused(tmp_path: Path, rows: str, facts: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_dataset("cataract1k-phase", cataract1k(tmp_path, rows, facts=facts))


def test_many_bad_rows_are_counted_and_the_check_is_named(tmp_path: Path) -> None:
    rows = "".join(f"{frame},nonsense\n" for frame in range(20))
    with pytest.raises(UsageError, match=r"\.\.\. and 15 more") as caught:
        load_dataset("cat21", cat21(tmp_path, rows))
    assert f"ophclip evaluate --check --dataset cat21 --root {tmp_path}" in caught.value.remedy


def test_seconds_with_two_labels_are_not_scored_and_said(tmp_path: Path) -> None:
    data = load_dataset("cataract1k-phase", cataract1k(tmp_path, "5,Incision,0,90\n5,Viscoelastic,60,150"))
    assert said(data, 0) == ["incision", "incision", ".", "viscoelastic", "viscoelastic"]
    assert "1 rows carry two labels at once and are not scored" in data.notes


@pytest.mark.parametrize("name", ["cat21", "cataract101", "cataract1k-phase", "cataracts", "cadis", "lensid"])
def test_an_empty_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must be|missing"):
        load_dataset(name, tmp_path)


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    root = cataract101(tmp_path, "9;0;1")
    (root / "phases.csv").write_bytes(b"Phase;Meaning\n1;Incisi\xf3n\n")
    with pytest.raises(UsageError, match=r"phases\.csv:2: must be UTF-8, got byte 0xf3"):
        load_dataset("cataract101", root)


def test_missing_videos_of_the_scored_split_are_refused(own_layout: Layout) -> None:
    root = own_layout("cat21")
    (root / "training" / "case_02.mp4").unlink()
    assert len(load_dataset("cat21", root).items) == 1  # nobody asked for the training videos
    (root / "validation" / "case_01.mp4").unlink()
    with pytest.raises(UsageError, match=r"1 of 1 videos of cat21 are missing, first .*case_01\.mp4"):
        load_dataset("cat21", root)
