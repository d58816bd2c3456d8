# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES
from ophclip.errors import UsageError
from ophclip.evaluate.datasets import load_dataset, names

PHASE_KEYS = [phase.key for phase in PHASES]


def rows_of(corpus: Path) -> dict[str, list[dict[str, str]]]:
    by_video: dict[str, list[dict[str, str]]] = {}
    with (corpus / "truth.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            by_video.setdefault(row["video_id"], []).append(row)
    return by_video


@pytest.fixture
def own_corpus(simulated_corpus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(simulated_corpus, tmp_path / "corpus"))


def test_labels_are_those_of_the_truth_table(simulated_corpus: Path) -> None:
    data, rows = load_dataset("simulated", simulated_corpus), rows_of(simulated_corpus)
    assert [item.video_id for item in data.items] == sorted(name for name in rows if name.startswith("test"))
    for item in data.items:
        assert item.phases is not None
        assert item.instruments is not None
        said = [data.phase_names[phase] if phase >= 0 else "idle" for phase in item.phases]
        assert said == [row["phase"] for row in rows[item.video_id]]
        for present, row in zip(item.instruments, rows[item.video_id], strict=True):
            seen = {data.instrument_names[c] for c in np.flatnonzero(present)}
            assert seen == set(filter(None, row["instruments"].split("|")))
    assert data.phase_names == PHASE_KEYS
    assert data.instrument_names == [instrument.key for instrument in INSTRUMENTS]


def test_idle_seconds_are_left_out_unless_background_is_kept(simulated_corpus: Path) -> None:
    without = load_dataset("simulated", simulated_corpus)
    kept = load_dataset("simulated", simulated_corpus, keep_background=True)
    assert kept.phase_names == [*PHASE_KEYS, "idle"]
    unscored = 0
    for one, other in zip(without.items, kept.items, strict=True):
        assert one.phases is not None
        assert other.phases is not None
        assert ((one.phases == -1) == (other.phases == len(PHASE_KEYS))).all()
        unscored += int((one.phases == -1).sum())
    assert unscored > 0
    assert "idle" in without.notes[0]
    assert without.notes != kept.notes


def test_an_unknown_dataset_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dataset 'simulatd'; did you mean 'simulated'"):
        load_dataset("simulatd", tmp_path)
    assert "simulated" in names()


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        load_dataset("simulated", tmp_path / "nowhere")


def test_a_corpus_without_truth_is_refused(own_corpus: Path) -> None:
    (own_corpus / "truth.csv").unlink()
    with pytest.raises(UsageError, match=r"no truth\.csv"):
        load_dataset("simulated", own_corpus)


def test_a_test_video_without_truth_is_refused(own_corpus: Path) -> None:
    truth = own_corpus / "truth.csv"
    lines = [line for line in truth.read_text().splitlines() if not line.startswith("test-00001,")]
    truth.write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match="says nothing of test video 'test-00001'"):
        load_dataset("simulated", own_corpus)


def test_a_missing_video_is_refused_by_name(own_corpus: Path) -> None:
    video = next((own_corpus / "videos").glob("test-00001.*"))
    video.unlink()
    with pytest.raises(UsageError, match=rf"1 of 3 videos of simulated are missing, first .*{video.name}"):
        load_dataset("simulated", own_corpus)


def test_a_corpus_without_test_videos_is_refused(own_corpus: Path) -> None:
    videos = own_corpus / "videos.csv"
    videos.write_text(videos.read_text().replace(",test\n", ",train\n"))
    with pytest.raises(UsageError, match="has no test videos"):
        load_dataset("simulated", own_corpus)
