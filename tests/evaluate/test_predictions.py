# SPDX-License-Identifier: Apache-2.0
"""The predictions file: what goes in comes out, and what is not whole is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_predictions import INSTRUMENTS, PHASES, made, predicted

from ophclip.errors import DamageError, OphclipError, UsageError
from ophclip.evaluate.predictions import Predictions, VideoPrediction, load_predictions, save_predictions


def drawn() -> Predictions:
    rng = np.random.default_rng(0)
    return made(
        [
            predicted(
                name,
                rng.integers(-1, 3, length).tolist(),
                rng.integers(0, 3, length).tolist(),
                present=rng.integers(0, 2, (length, 2)).tolist(),
                cosines=rng.normal(size=(length, 2)).tolist(),
            )
            for name, length in (("b/2", 5), ("a", 9), ("\u00e4 \udcff", 1), ("none", 0))
        ],
        notes=["idle seconds are not scored"],
    )


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    save_predictions(tmp_path / "predictions.npz", drawn())
    return tmp_path / "predictions.npz"


def assert_same(one: Predictions, other: Predictions) -> None:
    assert (one.facts, one.phase_names, one.instrument_names) == (
        other.facts,
        other.phase_names,
        other.instrument_names,
    )
    assert len(one.videos) == len(other.videos)
    for left, right in zip(one.videos, other.videos, strict=True):
        for name, value in vars(left).items():
            found = getattr(right, name)
            if isinstance(value, np.ndarray):
                assert found.dtype == value.dtype, name
                assert np.array_equal(found, value), name
            else:
                assert found == value


def test_what_is_stored_is_read_again(stored: Path) -> None:
    assert_same(load_predictions(stored), drawn())
    assert_same(load_predictions(stored.parent), drawn())


def test_the_same_predictions_in_any_order_give_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    other = replace(drawn(), videos=drawn().videos[::-1])
    save_predictions(tmp_path / "again.npz", other)
    assert (tmp_path / "again.npz").read_bytes() == stored.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.npz", "predictions.npz"]


def test_a_task_that_is_not_there_is_none(tmp_path: Path) -> None:
    empty = np.zeros((9, 0), dtype=np.float32)
    video = drawn().videos[0]
    phases = replace(
        drawn(),
        instrument_names=[],
        videos=[
            replace(video, true_instruments=None, instrument_scores=empty, instrument_probabilities=empty)
        ],
    )
    tools = replace(
        drawn(), phase_names=[], videos=[replace(video, true_phases=None, phase_probabilities=empty)]
    )
    for part in (phases, tools):
        save_predictions(tmp_path / "part.npz", part)
        assert_same(load_predictions(tmp_path / "part.npz"), part)


def test_an_evaluation_of_no_video_is_stored_too(tmp_path: Path) -> None:
    save_predictions(tmp_path / "none.npz", made([]))
    assert load_predictions(tmp_path / "none.npz").videos == []


def test_a_changed_or_cut_file_is_damage(stored: Path) -> None:
    whole = stored.read_bytes()
    for place in range(0, len(whole), 37):
        stored.write_bytes(whole[:place])
        with pytest.raises(OphclipError, match=r"predictions\.npz"):
            load_predictions(stored)
    start = whole.index(np.float32(1.0).tobytes() + np.float32(0.0).tobytes())
    stored.write_bytes(whole[:start] + bytes([whole[start] ^ 1]) + whole[start + 1 :])
    with pytest.raises(DamageError, match="is damaged"):
        load_predictions(stored)


def test_rows_that_do_not_add_up_are_damage(stored: Path) -> None:
    with np.load(stored) as file:
        arrays = dict(file)
    arrays["times_s"] = arrays["times_s"][:-1]
    np.savez(stored, **arrays)
    with pytest.raises(DamageError, match="times_s must have 15 rows, got 14"):
        load_predictions(stored)


def test_a_label_outside_the_classes_is_damage(stored: Path) -> None:
    with np.load(stored) as file:
        arrays = dict(file)
    arrays["true_phases"][3] = len(PHASES)
    np.savez(stored, **arrays)
    with pytest.raises(DamageError, match=r"video 'a': true_phases must lie in \[-1, 2\], got"):
        load_predictions(stored)


def test_other_files_and_newer_formats_are_refused(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        load_predictions(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", header=np.frombuffer(b"{}", dtype=np.uint8))
    with pytest.raises(UsageError, match="holds no predictions"):
        load_predictions(tmp_path / "other.npz")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(UsageError, match="holds no predictions"):
        load_predictions(tmp_path / "other.npz")
    with np.load(stored) as file:
        arrays = dict(file)
    header = arrays["header"].tobytes().replace(b'"version": 1, "facts"', b'"version": 9, "facts"')
    arrays["header"] = np.frombuffer(header, dtype=np.uint8)
    np.savez(stored, **arrays)
    with pytest.raises(UsageError, match="the format must be 1, got 9"):
        load_predictions(stored)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"phase_probabilities": np.full((9, 3), np.nan, np.float32)}, "phase_probabilities must be finite"),
        ({"instrument_scores": np.zeros((9, 3), np.float32)}, r"instrument_scores must be \(9, 2\)"),
        ({"true_phases": None}, "there must be true_phases"),
        ({"true_instruments": np.full((9, 2), 2)}, r"true_instruments must lie in \[0, 1\]"),
        ({"video_id": "b/2"}, "each video must be there once"),
    ],
)
def test_what_is_not_sound_is_not_written(change: dict[str, object], says: str, tmp_path: Path) -> None:
    whole = drawn()
    videos: list[VideoPrediction] = [replace(whole.videos[0], **change), *whole.videos[1:]]  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=says):
        save_predictions(tmp_path / "predictions.npz", replace(whole, videos=videos))
    assert list(tmp_path.iterdir()) == []


def test_the_facts_that_every_result_needs_are_asked_for(tmp_path: Path) -> None:
    facts = {name: value for name, value in made([]).facts.items() if name != "data_sha256"}
    with pytest.raises(UsageError, match="there must be a fact 'data_sha256'"):
        save_predictions(tmp_path / "predictions.npz", Predictions(facts, PHASES, INSTRUMENTS, []))
