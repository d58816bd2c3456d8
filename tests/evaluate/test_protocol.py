# SPDX-License-Identifier: Apache-2.0
"""Whole evaluations of an untrained model on a small simulated corpus."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ophclip.cache import open_cache
from ophclip.errors import OphclipError, UsageError
from ophclip.evaluate import Results, evaluate, rescore
from ophclip.evaluate.datasets import load_dataset
from ophclip.evaluate.facts import data_hash
from ophclip.models import ModelConfig, build_model, save_model


@pytest.fixture(scope="module")
def results(untrained_run: Path, simulated_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("results") / "evaluation"
    return evaluate(untrained_run, dataset="simulated", root=simulated_corpus, out=out)


@pytest.fixture
def own_corpus(simulated_corpus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(simulated_corpus, tmp_path / "corpus"))


def test_every_file_is_written_and_no_temporary_one_is_left(results: Results) -> None:
    files = {path.name for path in results.out.iterdir()}
    assert files == {"metrics.json", "predictions.npz", "report.html", "plots", "features.zarr"}
    assert {path.stem for path in (results.out / "plots").iterdir()} == {
        "phase_ribbons",
        "phase_classes",
        "phase_confusion",
        "instrument_classes",
        "instrument_timeline_1",
        "instrument_timeline_2",
        "instrument_timeline_3",
    }
    assert json.loads((results.out / "metrics.json").read_text()) == results.numbers


def test_figures_that_a_result_no_longer_has_are_removed_and_nobody_elses(
    results: Results, tmp_path: Path
) -> None:
    shutil.copy(results.out / "predictions.npz", tmp_path)
    (tmp_path / "plots").mkdir()
    for name in ("instrument_timeline_9.svg", "my.svg"):
        (tmp_path / "plots" / name).write_text("")
    rescore(tmp_path)
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {"my.svg", *(path.name for path in (results.out / "plots").iterdir())}


def test_the_result_names_protocol_data_weights_and_prompts(results: Results) -> None:
    numbers = results.numbers
    assert numbers["protocol"] == "zero-shot/frame/1"
    assert numbers["prompts"]["variant"] == "all"
    assert len(numbers["data_sha256"]) == len(numbers["prompts"]["sha256"]) == 64
    assert numbers["weights"]
    assert numbers["videos"] == 3
    assert numbers["frames"] == 36
    assert numbers["phase"]["scored_frames"] + numbers["frames_without_scored_phase"] == 36


def test_the_summary_takes_its_numbers_from_the_result(results: Results) -> None:
    phase, instrument = results.numbers["phase"], results.numbers["instrument"]
    assert results.summary() == {
        "phase_accuracy": phase["accuracy.per_video_mean"],
        "phase_chance": phase["accuracy.chance_uniform"],
        "phase_majority": phase["accuracy.chance_majority"],
        "phase_f1": phase["f1.per_video_mean.present"],
        "instrument_map": instrument["map.pooled.defined_classes"],
        "instrument_map_chance": instrument["map.chance_prevalence"],
        "instrument_fpr": instrument["fpr.micro.prompt_softmax"],
    }


def test_stored_predictions_give_every_file_again_without_model_or_data(
    results: Results, tmp_path: Path
) -> None:
    stored = tmp_path / "stored"
    stored.mkdir()
    shutil.copy(results.out / "predictions.npz", stored)
    assert rescore(stored).numbers == results.numbers
    assert rescore(stored / "predictions.npz", tmp_path / "elsewhere").out == tmp_path / "elsewhere"
    written = [path.relative_to(stored) for path in stored.rglob("*") if path.is_file()]
    assert len(written) == 10
    for name in written:
        assert (stored / name).read_bytes() == (results.out / name).read_bytes(), name
        if name.name != "predictions.npz":
            assert (tmp_path / "elsewhere" / name).read_bytes() == (results.out / name).read_bytes(), name


def test_a_second_evaluation_gives_the_same_bytes_and_decodes_nothing(
    results: Results, untrained_run: Path, simulated_corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    shutil.copytree(results.out / "features.zarr", out / "features.zarr")
    chunks = {path: path.stat().st_mtime_ns for path in out.rglob("c/0/0")}
    evaluate(untrained_run, dataset="simulated", root=simulated_corpus, out=out)
    for name in ("metrics.json", "report.html", "plots/phase_ribbons.svg"):
        assert (out / name).read_bytes() == (results.out / name).read_bytes(), name
    assert {path: path.stat().st_mtime_ns for path in out.rglob("c/0/0")} == chunks


def test_a_run_that_was_trained_on_is_embedded_anew(
    results: Results, simulated_corpus: Path, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "evaluation"
    run.mkdir()
    save_model(build_model(ModelConfig(dim=32, image_size=32), seed=4), run)
    shutil.copytree(results.out, out)
    names = ("metrics.json", "predictions.npz", "report.html", "plots/instrument_classes.svg")
    for number, name in enumerate(names):
        (tmp_path / str(number)).hardlink_to(out / name)
    trained = evaluate(run, dataset="simulated", root=simulated_corpus, out=out)
    assert trained.numbers["weights"] != results.numbers["weights"]
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    assert open_cache(out / "features.zarr").provenance["key"]["weights"] == trained.numbers["weights"]
    for number, name in enumerate(names):
        old = (results.out / name).read_bytes()
        assert (out / name).read_bytes() != old, name
        assert (tmp_path / str(number)).read_bytes() == old, (
            "a reader of the old file must not see half a new one"
        )


def test_results_go_into_the_run_unless_told_otherwise(
    results: Results, untrained_run: Path, simulated_corpus: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(untrained_run, tmp_path / "run"))
    shutil.copytree(results.out / "features.zarr", run / "evaluate-simulated" / "features.zarr")
    found = evaluate(run, dataset="simulated", root=simulated_corpus, keep_background=True, variant="name")
    assert found.out == run / "evaluate-simulated"
    assert found.report.is_file()
    assert found.numbers["prompts"]["variant"] == "name"
    assert found.numbers["frames_without_scored_phase"] == 0
    assert "idle" in found.numbers["phase"]["by_class"]
    assert found.numbers["data_sha256"] != results.numbers["data_sha256"]


def test_thedata_hash_is_of_what_is_scored_and_not_of_its_order(simulated_corpus: Path) -> None:
    data = load_dataset("simulated", simulated_corpus)
    before = data_hash(data)
    assert data_hash(replace(data, items=data.items[::-1])) == before
    assert data_hash(replace(data, items=data.items[1:])) != before
    assert data_hash(replace(data, fps=2.0)) != before
    assert data.items[0].phases is not None
    data.items[0].phases[0] += 1
    assert data_hash(data) != before


def test_a_video_shorter_than_its_labels_is_refused(own_corpus: Path, untrained_run: Path) -> None:
    truth = own_corpus / "truth.csv"
    lines = truth.read_text().splitlines()
    last = max(index for index, line in enumerate(lines) if line.startswith("test-00001,"))
    _, second, procedure, phase, instruments = lines[last].split(",")
    more = [f"test-00001,{int(second) + n},{procedure},{phase},{instruments}" for n in (1, 2, 3)]
    truth.write_text("\n".join([*lines[: last + 1], *more, *lines[last + 1 :]]) + "\n")
    with pytest.raises(UsageError, match="'test-00001' lasts 12 s, its labels 15 s"):
        evaluate(untrained_run, dataset="simulated", root=own_corpus, out=own_corpus / "out")
    assert not (own_corpus / "out" / "metrics.json").exists()


def test_a_video_that_cannot_be_read_ends_the_evaluation_by_name(
    own_corpus: Path, untrained_run: Path
) -> None:
    video = next((own_corpus / "videos").glob("test-00002.*"))
    video.write_bytes(b"not a video" * 100)
    with pytest.raises(OphclipError, match=r"1 of 3 videos of simulated cannot be read; test-00002:"):
        evaluate(untrained_run, dataset="simulated", root=own_corpus, out=own_corpus / "out")
    assert not (own_corpus / "out" / "metrics.json").exists()


def test_a_folder_that_is_no_run_is_refused_before_anything_is_written(
    simulated_corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is not a run"):
        evaluate(tmp_path, dataset="simulated", root=simulated_corpus, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
