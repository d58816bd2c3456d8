# SPDX-License-Identifier: Apache-2.0
"""`ophclip evaluate --check`: clean downloads are clean, and every planted defect is found where it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from layout_folders import Layout

from ophclip.cli.main import main
from ophclip.corpus.simulate.layouts import LAYOUTS
from ophclip.errors import UsageError
from ophclip.evaluate.check import CheckReport, check_dataset
from ophclip.evaluate.datasets.registry import ADAPTERS, adapter_of


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def places(report: CheckReport) -> set[tuple[str, str, int | None]]:
    return {(finding.kind, finding.file.name, finding.line) for finding in report.defects}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_simulated_download_has_no_defect(name: str, layout: Layout) -> None:
    report = check_dataset(name, layout(name))
    assert report.defects == []
    assert report.exit_code == 0
    assert report.counts
    assert all(count.found == count.published for count in report.counts)


Plant = Callable[[Path], None]

CASE = "annotations/case_4688/case_4688_annotations_phases.csv"
PLANTED: list[tuple[str, Plant, str, str, int | None]] = [
    ("cat21", lambda r: (r / "training/case_02.mp4").unlink(), "missing-file", "case_02.csv", None),
    ("cat21", lambda r: (r / "training/case_02.csv").unlink(), "unlabelled-video", "case_02.mp4", None),
    ("cat21", lambda r: (r / "training/case_02.csv").unlink(), "count", "cat21", None),
    ("cat21", lambda r: cut(r / "training/case_02.mp4"), "truncated", "case_02.mp4", None),
    ("cat21", lambda r: (r / "training/case_02.mp4").write_bytes(b""), "empty-file", "case_02.mp4", None),
    (
        "cat21",
        lambda r: (r / "training/case_02.mp4").write_bytes(b"no" * 999),
        "unreadable",
        "case_02.mp4",
        None,
    ),
    (
        "cat21",
        lambda r: edit(r / "training/case_02.csv", "\n9,not_initialized", "\n900,not_initialized"),
        "past-end",
        "case_02.csv",
        10,
    ),
    ("cat21", lambda r: edit(r / "training/case_02.csv", "\n3,", "\n2,"), "duplicate", "case_02.csv", 4),
    (
        "cat21",
        lambda r: edit(r / "training/case_02.csv", "\n3,not_", "\n3,net_"),
        "unknown-label",
        "case_02.csv",
        4,
    ),
    (
        "cataract101",
        lambda r: edit(r / "annotations.csv", "269;", "300;"),
        "unknown-video",
        "annotations.csv",
        2,
    ),
    ("cataract101", lambda r: edit(r / "videos.csv", ";400;25;", ";400;50;"), "rate", "case_269.mp4", None),
    (
        "cataract101",
        lambda r: edit(r / "videos.csv", ";400;25;", ";900;25;"),
        "past-end",
        "annotations.csv",
        4,
    ),
    (
        "cataract101",
        lambda r: (r / "videos/case_269.mp4").rename(r / "videos/case_1.mp4"),
        "missing-file",
        "annotations.csv",
        2,
    ),
    (
        "cataract101",
        lambda r: (r / "videos/case_269.mp4").rename(r / "videos/case_1.mp4"),
        "unlabelled-video",
        "case_1.mp4",
        None,
    ),
    (
        "cataract1k-phase",
        lambda r: (r / CASE).write_text("a,b,c,d\n8,Incision,0,90\n8,Viscoelastic,60,120\n"),
        "overlap",
        "case_4688_annotations_phases.csv",
        3,
    ),
    (
        "cataract1k-phase",
        lambda r: (r / CASE).write_text("a,b,c,d,sec\n8,Incision,60,90,4\n"),
        "rate",
        "case_4688_annotations_phases.csv",
        2,
    ),
    (
        "cataract1k-phase",
        lambda r: (r / CASE).write_text("a,b,c,d\n8,Incision,0,90\n8,Viscoelastic,90,900\n"),
        "past-end",
        "case_4688_annotations_phases.csv",
        3,
    ),
    (
        "cataract1k-phase",
        lambda r: (r / CASE).write_text("a,b,c,d\n8,Incision,0,90\n"),
        "empty-class",
        "cataract1k-phase",
        None,
    ),
    ("lensid", lambda r: cut(next(r.rglob("video00_00.mp4"))), "truncated", "video00_00.mp4", None),
    ("catreldet", lambda r: next(r.rglob("*.mp4")).unlink(), "count", "catreldet", None),
    (
        "ophnet-phase",
        lambda r: edit(r / "labels.csv", "7,lens implantation,\n", ""),
        "unnamed-label",
        "OphNet2024_loca_challenge_phase.csv",
        None,
    ),
    (
        "cataract1k-instruments",
        lambda r: cut(next(r.rglob("*_01.png"))),
        "truncated",
        "case5013_01.png",
        None,
    ),
    (
        "cataract1k-instruments",
        lambda r: next(r.rglob("case5013_03.png")).unlink(),
        "missing-file",
        "instances.json",
        None,
    ),
    ("cadis", lambda r: next(r.rglob("Labels/*.png")).unlink(), "missing-file", None, None),  # type: ignore[list-item]
    ("cadis", lambda r: next(r.rglob("Images/*.png")).unlink(), "count", "cadis", None),
    ("cataracts", lambda r: edit(r / "test/test01.csv", "\n7,0,", "\n7,3,"), "malformed", "test01.csv", 8),
    ("cataracts", lambda r: cut(r / "test/test01.mp4"), "truncated", "test01.mp4", None),
]


@pytest.mark.parametrize(
    ("name", "plant", "kind", "file", "line"),
    PLANTED,
    ids=[f"{number}-{name}-{kind}" for number, (name, _, kind, _, _) in enumerate(PLANTED)],
)
def test_a_planted_defect_is_found_with_file_and_line(
    name: str, plant: Plant, kind: str, file: str | None, line: int | None, own_layout: Layout
) -> None:
    root = own_layout(name)
    plant(root)
    report = check_dataset(name, root)
    found = [finding for finding in report.defects if finding.kind == kind]
    assert found, report.defects
    assert file is None or file in {finding.file.name for finding in found}
    assert line is None or (kind, file, line) in places(report)
    assert report.exit_code == 4


def test_gaps_are_told_and_are_a_defect_only_where_every_frame_has_a_label(own_layout: Layout) -> None:
    root = own_layout("cat21")
    table = root / "training" / "case_02.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:100] + lines[200:]) + "\n")
    report = check_dataset("cat21", root)
    (gap,) = report.defects
    assert (gap.kind, gap.file, gap.line) == ("gap", table, 101)
    assert "no label from 4 to 8 s" in gap.message


def test_overlaps_that_are_published_are_only_a_note(own_layout: Layout) -> None:
    root = own_layout("ophnet-phase")
    table = root / "OphNet2024_loca_challenge_phase.csv"
    rows = table.read_text().splitlines()
    fields = rows[1].split(",")
    rows[1] = ",".join([*fields[:2], str(float(fields[2]) + 0.3), *fields[3:]])
    table.write_text("\n".join(rows) + "\n")
    report = check_dataset("ophnet-phase", root)
    assert report.defects == []
    assert [(finding.kind, finding.line) for finding in report.findings] == [("overlap", 3)]


def test_a_download_that_is_not_simulated_is_held_to_the_published_counts(own_layout: Layout) -> None:
    root = own_layout("cataract101")
    (root / ".simulation.json").unlink()
    report = check_dataset("cataract101", root)
    assert [(count.found, count.published) for count in report.counts] == [(3, 101)]
    assert "there must be 101 videos, got 3" in [finding.message for finding in report.defects]
    assert {"empty-class", "count"} == {finding.kind for finding in report.defects}


def test_every_adapter_has_its_facts() -> None:
    for name in ADAPTERS:
        facts = adapter_of(name).facts
        assert facts.name == name
        assert facts.licence
        assert facts.where
        assert facts.split
        assert "http" not in facts.where
        assert len(set(facts.classes)) == len(facts.classes)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("cat21", 10),
        ("cataract101", 10),
        ("cataract1k-phase", 12),
        ("catreldet", 4),
        ("lensid", 2),
        ("cataract1k-instruments", 9),
        ("catinstseg", 11),
        ("catinstseg-cadis", 15),
        ("cadis", 36 - 7),
        ("cataracts", 21),
    ],
)
def test_the_numbers_of_classes_are_the_published_ones(name: str, classes: int) -> None:
    assert len(adapter_of(name).facts.classes) == classes


def test_an_unknown_dataset_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'cadis'"):
        check_dataset("cadiz", tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        check_dataset("cadis", tmp_path / "none")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_command_ends_with_4_on_defects_and_prints_them(
    own_layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    root = own_layout("cataract101")
    arguments = ["evaluate", "--check", "--dataset", "cataract101", "--root", root, "--quiet"]
    assert run(*arguments) == 0
    assert "0 defects" in capsys.readouterr().out
    edit(root / "annotations.csv", "269;", "300;")
    assert run(*arguments) == 4
    assert "video 300 is not in videos.csv [unknown-video]" in capsys.readouterr().out.replace("\n", " ")
    assert run(*arguments, "--json") == 4
    told = json.loads(capsys.readouterr().out)
    assert told["defects"] == len([f for f in told["findings"] if f["severity"] != "note"]) > 0
    assert told["counts"] == [{"what": "videos", "found": 3, "published": 3, "source": "read"}]
    first = next(finding for finding in told["findings"] if finding["kind"] == "unknown-video")
    assert (first["file"], first["line"]) == (str(root / "annotations.csv"), 2)


def test_the_command_needs_a_dataset_and_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "--check") == 2
    assert "Missing option '--dataset'" in capsys.readouterr().err
    assert run("evaluate", "--check", "--dataset", "cadis") == 2
    assert "Missing option '--root'" in capsys.readouterr().err


def test_the_list_names_every_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "--list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["datasets"]
    assert [row["name"] for row in listed] == list(ADAPTERS)
    assert {"task", "classes", "licence", "split", "where"} <= set(listed[0])
    assert run("evaluate", "--list") == 0
    assert "cataract101" in capsys.readouterr().out
