# SPDX-License-Identifier: Apache-2.0
"""`ophclip evaluate` on every dataset, as it lies on disk, with one untrained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from layout_folders import Layout

from ophclip.cli.main import main
from ophclip.corpus.simulate.layouts import LAYOUTS
from ophclip.evaluate.datasets import load_dataset
from ophclip.evaluate.datasets.registry import ADAPTERS, adapter_of

LAYOUT_OF = {name: "catreldet" for name in ADAPTERS if name.startswith("catreldet")}
OWN_PROMPTS = """
version = 1
[template]
phases = ["a view of {}"]
negatives = ["no {}"]
[names.phases]
cut = "incision"
tear = "rhexis"
[description.phases]
cut = ["the blade enters"]
tear = ["the capsule is torn"]
"""


@pytest.fixture(scope="module")
def roots(layout: Layout, simulated_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Give the folder of a dataset."""

    def root_of(name: str) -> Path:
        if name == "simulated":
            return simulated_corpus
        if name != "folder":
            return layout(LAYOUT_OF.get(name, name))
        root = tmp_path_factory.mktemp("own")
        videos = sorted((simulated_corpus / "videos").iterdir())[:2]
        rows = [
            f"{video},{start},{start + 4},{label}"
            for video in videos
            for start, label in ((0, "cut"), (4, "tear"))
        ]
        (root / "labels.csv").write_text("\n".join(["path,start_s,end_s,phase", *rows]) + "\n")
        (root / "prompts.toml").write_text(OWN_PROMPTS)
        return root

    return root_of


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, arguments), "--json", "--quiet"])
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_there_is_a_layout_of_every_published_dataset() -> None:
    assert {LAYOUT_OF.get(name, name) for name in ADAPTERS} == {*LAYOUTS, "folder", "simulated"}


ALIKE = ("catreldet-implantation", "catreldet-irrigation-aspiration", "catreldet-phacoemulsification")


@pytest.mark.parametrize("name", [name for name in ADAPTERS if name not in ALIKE])  # -rhexis stands for them
def test_a_dataset_is_evaluated(
    name: str, roots: Layout, untrained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = roots(name), tmp_path / "out"
    found = evaluated(
        capsys, untrained_run, "--dataset", name, "--root", root, "--out", out, "--resamples", 20
    )
    stored = json.loads((out / "metrics.json").read_text())
    assert {key: found[key] for key in stored} == stored
    assert (out / "report.html").is_file()
    data, facts = load_dataset(name, root), adapter_of(name).facts
    assert found["dataset"] == name
    assert found["videos"] == len(data.items)
    assert ("phase" in found, "instrument" in found) == (bool(data.phase_names), bool(data.instrument_names))
    if facts.unit == "clip":
        assert found["protocol"] == "zero-shot/clip-emb/1"
        assert found["frames"] == sum(len(item.clips) for item in data.items)
    else:
        labels = [item.phases if item.phases is not None else item.instruments for item in data.items]
        missing = sum("end one row before" in note for note in found["notes"])
        assert found["protocol"] == "zero-shot/frame/1"
        assert found["frames"] + missing <= sum(len(part) for part in labels if part is not None)
        assert found["frames"] >= sum(len(part) - 1 for part in labels if part is not None)
    if facts.unit == "picture":
        assert found["frames"] == sum(len(item.pictures) for item in data.items)
