# SPDX-License-Identifier: Apache-2.0
"""Few-shot and linear-probe evaluations of an untrained model, on features that are made once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from layout_folders import Layout

from ophclip.corpus.simulate import simulate
from ophclip.errors import UsageError
from ophclip.evaluate import Results, load_predictions, probe, rescore

C_GRID = (1e-3, 1e-1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("probed")
    simulate(root, narrated=0, silent=6, test=2, seconds=10, size=64, workers=1, seed=8)
    return root


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features") / "features.zarr"


@pytest.fixture(scope="module")
def series(
    untrained_run: Path, corpus: Path, features: Path, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    out = tmp_path_factory.mktemp("series")
    return probe(
        untrained_run,
        dataset="simulated",
        root=corpus,
        protocol="few-shot",
        shots=(1, 100),
        seeds=2,
        out=out,
        cache=features,
        resamples=20,
        c_grid=C_GRID,
    )


def test_there_is_a_result_for_each_setting_and_seed(series: Results) -> None:
    found = sorted(str(path.parent.relative_to(series.out)) for path in series.out.rglob("predictions.npz"))
    assert found == ["shots-1/seed-0", "shots-1/seed-1", "shots-100/seed-0"]  # all videos: one seed
    assert json.loads((series.out / "metrics.json").read_text()) == series.numbers
    assert series.report.is_file()
    assert series.numbers["protocol"] == "few-shot/frame/1"


def test_no_video_is_both_learnt_from_and_scored(series: Results) -> None:
    split = json.loads((series.out / "split.json").read_text())
    for path in series.out.rglob("predictions.npz"):
        stored = load_predictions(path)
        assert {video.video_id for video in stored.videos} == set(split["test"])
        assert set(stored.facts["train_videos"]) <= set(split["train"])
    assert not set(split["train"]) & set(split["val"])
    assert not {*split["train"], *split["val"]} & set(split["test"])


def test_the_summary_is_of_the_seeds(series: Results) -> None:
    setting = series.numbers["settings"]["shots-1"]
    values = [
        json.loads((series.out / f"shots-1/seed-{seed}/metrics.json").read_text())["phase"]["accuracy.pooled"]
        for seed in (0, 1)
    ]
    told = setting["phase"]["accuracy.pooled"]
    assert told["by_seed"] == values
    assert told["mean"] == pytest.approx(sum(values) / 2, abs=1e-6)
    assert series.numbers["settings"]["shots-100"]["phase"]["accuracy.pooled"]["sd"] is None
    last = series.numbers["settings"]["shots-100"]
    assert series.summary()["phase_accuracy"] == last["phase"]["accuracy.per_video_mean"]["mean"]
    assert series.summary()["instrument_fpr"] == last["instrument"]["fpr.micro.probe_sigmoid"]["mean"]


def test_everything_is_computed_again_from_predictions(series: Results, tmp_path: Path) -> None:
    assert rescore(series.out, tmp_path).numbers == series.numbers
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert "shots-1/seed-1/metrics.json" in map(str, written)
    for name in written:
        assert (tmp_path / name).read_bytes() == (series.out / name).read_bytes(), name


def test_a_second_run_gives_the_same_bytes_and_drops_settings_that_are_gone(
    series: Results, untrained_run: Path, corpus: Path, features: Path, tmp_path: Path
) -> None:
    settings = {
        "dataset": "simulated",
        "root": corpus,
        "out": tmp_path,
        "cache": features,
        "resamples": 20,
        "c_grid": C_GRID,
    }
    probe(untrained_run, protocol="few-shot", shots=(1, 2), seeds=2, **settings)  # type: ignore[arg-type]
    probe(untrained_run, protocol="few-shot", shots=(1, 100), seeds=2, **settings)  # type: ignore[arg-type]
    for name in ("metrics.json", "split.json", "report.html", "shots-1/seed-1/predictions.npz"):
        assert (tmp_path / name).read_bytes() == (series.out / name).read_bytes(), name
    assert not list(tmp_path.glob("shots-2/seed-*/*"))


def test_a_linear_probe_of_clips_and_of_pictures(layout: Layout, untrained_run: Path, tmp_path: Path) -> None:
    for name in ("ophnet-phase", "cataract1k-instruments"):
        found = probe(
            untrained_run,
            dataset=name,
            root=layout(name),
            percents=(100,),
            out=tmp_path / name,
            resamples=0,
            c_grid=(0.01, 1),
            standardize=False,
        )
        task = "phase" if name == "ophnet-phase" else "instrument"
        assert task in found.numbers["settings"]["percent-100"]
        assert found.numbers["standardize"] is False


def test_features_of_the_backbone_are_stored_apart(untrained_run: Path, corpus: Path, tmp_path: Path) -> None:
    found = probe(
        untrained_run,
        dataset="simulated",
        root=corpus,
        percents=(100,),
        features="backbone",
        out=tmp_path,
        resamples=0,
        c_grid=(0.01,),
    )
    assert (tmp_path / "features-backbone.zarr").is_dir()
    assert found.numbers["features"] == "backbone"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"shots": (0,), "protocol": "few-shot"}, "shots must be positive"),
        ({"percents": (101,)}, "percents must be positive and at most 100"),
        ({"percents": ()}, "percents must be positive"),
        ({"c_grid": (float("nan"),)}, "C must be positive"),
        ({"seeds": 0}, "there must be a seed"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    setting: dict[str, object], says: str, untrained_run: Path, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        probe(untrained_run, dataset="simulated", root=corpus, out=tmp_path / "out", **setting)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
