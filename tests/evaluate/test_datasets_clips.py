# SPDX-License-Identifier: Apache-2.0
"""CatRelDet, LensID and OphNet: simulated downloads against what was drawn, and hand-made ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from layout_folders import Layout

from ophclip.corpus.simulate.layouts.footage import phase_at
from ophclip.corpus.simulate.production import Script
from ophclip.errors import UsageError
from ophclip.evaluate.datasets import load_dataset
from ophclip.evaluate.prompts import load_prompts

Scripts = Callable[[str], list[Script]]

PHASE, OPERATION = "OphNet2024_loca_challenge_phase.csv", "OphNet2024_loca_challenge.csv"


def clip(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not looked into")
    return path


def ophnet(
    root: Path, rows: str, *, names: str = "0,Incision,\n4,Lens implantation,a lens goes in|it unfolds\n"
) -> Path:
    for video in ("case_1", "case_2"):
        clip(root / "videos" / f"{video}.mp4")
    (root / PHASE).write_text(f"video_id,start,end,split,surgery_id,phase_id\n{rows}\n")
    (root / "labels.csv").write_text(f"id,name,prompt\n{names}")
    return root


def test_relevant_clips_have_the_phase_of_their_folder_and_the_rest_is_background(layout: Layout) -> None:
    data = load_dataset("catreldet", layout("catreldet"))
    assert data.unit == "clip"
    assert len(data.items) > 0
    for item in data.items:
        assert item.is_one_clip
        assert item.phases is not None
        phase = data.phase_names[item.phases[0]]
        assert item.video_id.lower().startswith(phase[:5])
        assert "-rest-" not in item.video_id
    kept = load_dataset("catreldet", layout("catreldet"), keep_background=True)
    rest = [item for item in kept.items if "-rest-" in item.video_id]
    assert len(kept.items) == len(data.items) + len(rest)
    assert {kept.phase_names[item.clips[0].label] for item in rest} == {"rest"}
    assert "rest clips are not scored" in data.notes


@pytest.mark.parametrize("phase", ["implantation", "irrigation-aspiration"])
def test_each_relevant_phase_is_a_problem_of_two_classes(phase: str, layout: Layout) -> None:
    data = load_dataset(f"catreldet-{phase}", layout("catreldet"))
    assert data.phase_names == [phase.replace("-", "_"), "rest"]
    labels = [item.clips[0].label for item in data.items]
    assert set(labels) == {0, 1}
    assert [("-rest-" in item.video_id) for item in data.items] == [label == 1 for label in labels]


def test_lens_id_has_clips_of_both_classes(layout: Layout) -> None:
    data = load_dataset("lensid", layout("lensid"))
    assert {item.clips[0].label for item in data.items} == {0, 1}
    assert all(("Rest" in item.path.parts) == (item.clips[0].label == 1) for item in data.items)


@pytest.mark.parametrize(
    "folders",
    ["Rhexis/Test/not_relevant", "test/rhexis/rest", "rhexis/testing/OTHER", "Rhexis/test/non-rhexis"],
)
def test_other_names_of_the_folders_are_understood(folders: str, tmp_path: Path) -> None:
    clip(tmp_path / folders / "a.mp4")
    (item,) = load_dataset("catreldet-rhexis", tmp_path).items
    assert item.clips[0].label == 1


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        ("rhexis/rest", "its folders must name one split"),
        ("rhexis/train/test/rest", "its folders must name one split"),
        ("test/lunch", "its folders must name one class"),
        ("test/rhexis/implantation", "its folders must name one class"),
        ("test/rest", "its folders must name one class"),  # the rest of which phase?
    ],
)
def test_folders_that_say_nothing_or_two_things_are_refused(folders: str, says: str, tmp_path: Path) -> None:
    clip(tmp_path / folders / "a.mp4")
    with pytest.raises(UsageError, match=rf"a\.mp4: {says}"):
        load_dataset("catreldet", tmp_path)


@pytest.mark.parametrize("level", ["phase", "operation"])
def test_ophnet_gives_clips_and_seconds(level: str, layout: Layout, scripts: Scripts) -> None:
    name = f"ophnet-{level}"
    data = load_dataset(name, layout(name))
    (item,) = data.items
    segments = scripts(name)[0].timeline.segments
    expected = [part for part in segments if part.phase != "idle"]
    assert [(clip.start_s, clip.end_s) for clip in item.clips] == [
        (part.start_s, part.end_s) for part in expected
    ]
    said = [data.phase_names[clip.label] for clip in item.clips]
    keys = [part.phase if level == "phase" else part.instruments[0].instrument for part in expected]
    assert said == [key.replace("_", " ") for key in keys]
    assert item.phases is not None
    for second, label in enumerate(item.phases):
        assert (label == -1) == (phase_at(scripts(name)[0], second) == "idle")


def test_the_operation_file_starts_with_a_byte_order_mark_and_the_phase_file_does_not(layout: Layout) -> None:
    assert (layout("ophnet-operation") / OPERATION).read_bytes().startswith(b"\xef\xbb\xbfvideo_id")
    assert (layout("ophnet-phase") / PHASE).read_bytes().startswith(b"video_id")


def test_labels_take_the_order_of_their_ids_and_others_is_background(tmp_path: Path) -> None:
    root = ophnet(tmp_path, "case_1,0,2.5,test,0,4\ncase_1,2.5,4,test,0,51\ncase_1,4,5,test,0,0")
    data = load_dataset("ophnet-phase", root)
    assert data.phase_names == ["incision", "lens implantation"]
    (item,) = data.items
    assert item.phases is not None
    assert item.phases.tolist() == [1, 1, 1, -1, 0]
    kept = load_dataset("ophnet-phase", root, keep_background=True)
    assert kept.phase_names[-1] == "others"
    assert kept.items[0].phases is not None
    assert kept.items[0].phases.tolist() == [1, 1, 1, 2, 0]


def test_overlaps_as_published_are_not_refused(tmp_path: Path) -> None:
    data = load_dataset("ophnet-phase", ophnet(tmp_path, "case_1,0,2.3,test,0,0\ncase_1,1.8,4,test,0,4"))
    assert [clip.label for clip in data.items[0].clips] == [0, 1]
    assert data.items[0].phases is not None
    assert data.items[0].phases.tolist() == [0, 0, -1, 1]


def test_names_and_prompts_come_from_the_table_of_labels(tmp_path: Path) -> None:
    data = load_dataset("ophnet-phase", ophnet(tmp_path, "case_1,0,2,test,0,4"))
    prompts = load_prompts(data.prompts)
    found = prompts.for_classes("phases", [*data.phase_names, "others"], "description").positives
    assert found[1] == ["a lens goes in", "it unfolds"]
    known = load_prompts("ophnet.toml").tables["description"]["phases"]
    assert found[0] == known["incision"]  # a name without a prompt that the package knows
    (named,) = prompts.for_classes("phases", ["lens implantation"], "name").positives
    assert named == ["Lens implantation"]
    (tmp_path / "labels.csv").write_text("id,name,prompt\n0,Incision,\n4,Lens implantation,other words\n")
    assert load_prompts(data.prompts).sha256 != prompts.sha256


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("case_1,0,2,test,0,9", r"phase\.csv:2: phase_id 9 has no name in labels\.csv"),
        ("case_1,0,2,test,0,x", r"phase\.csv:2: phase_id must be a number, got 'x'"),
        ("case_1,2,1,test,0,0", r"phase\.csv:2: end must not precede start, got 2 to 1"),
        ("case_1,-1,1,test,0,0", r"phase\.csv:2: start must be a number of 0 or more"),
        ("case_1,0,99999999,test,0,0", r"phase\.csv:2: end must be a number up to 1,000,000"),
        ("case_1,0,inf,test,0,0", r"phase\.csv:2: end must be a number of 0 or more"),
        ("case_1,0,2,exam,0,0", r"phase\.csv:2: .* a split of train, val, test, got 'exam'"),
        ("case_1,0,2,test,0,0\ncase_1,2,3,train,0,0", r"phase\.csv:3: the split must stay test"),
        ("case_1,0,2,test,0", r"phase\.csv:2: a row must have 6 fields, got 5"),
    ],
)
def test_bad_rows_of_ophnet_are_refused_with_their_line(rows: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        load_dataset("ophnet-phase", ophnet(tmp_path, rows))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("0,Incision,\n0,Rhexis,\n", r"labels\.csv:3: id 0 has a second name"),
        ("0,Incision,\n4,incision,\n", r"labels\.csv:3: the name 'incision' is there twice"),
        ("zero,Incision,\n", r"labels\.csv:2: id must be a number with a name"),
        ("0,,\n", r"labels\.csv:2: id must be a number with a name"),
    ],
)
def test_bad_names_of_ophnet_are_refused(names: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        load_dataset("ophnet-phase", ophnet(tmp_path, "case_1,0,2,test,0,0", names=names))


def test_ophnet_without_a_table_of_labels_asks_for_it(tmp_path: Path) -> None:
    root = ophnet(tmp_path, "case_1,0,2,test,0,0")
    (root / "labels.csv").unlink()
    with pytest.raises(UsageError, match=r"labels\.csv: must name the label ids"):
        load_dataset("ophnet-phase", root)
